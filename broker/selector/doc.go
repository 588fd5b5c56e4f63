// Package selector compiles and evaluates JMS message selectors: the subset
// of SQL-92 conditions of the Jakarta Messaging specification, section 3.8.1,
// with the extensions of ActiveMQ (functions, the prefix
// convert_string_expressions:).
//
// Logic is three-valued: a comparison with a property that a message does not
// have is unknown, and a message is selected only if the whole condition is
// true. Values of different kinds are unequal; numbers compare by value,
// whatever their width. Where ActiveMQ's outcome depends on the order of
// operands of different width, or is an exception, ours does not.
//
// Compiling is bounded in length and depth; evaluating takes time in
// proportion to the selector and the strings it looks at, patterns of LIKE
// included.
package selector
