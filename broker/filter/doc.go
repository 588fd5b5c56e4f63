// Package filter decides by content whether a message is wanted: the filter
// policies of SNS subscriptions, over message attributes or over a JSON body.
// Event patterns are the same language.
//
// A [Policy] is compiled once and then matched by any number of goroutines. A
// [Document] is a JSON body parsed once and matched against many policies.
// Errors of Compile carry the words and the positions that Amazon SNS answers
// with, which are those of its JSON tokenizer: see lexer.
//
// The package imports the standard library only and never panics on any input;
// the work of a match is bounded by the size of policy and document.
package filter
