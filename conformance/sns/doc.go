// Package sns holds the SNS statements of the acceptance list, one test each,
// driven by the AWS SDK for Go against a real endpoint: the built binary, or
// the one SNS_ENDPOINT names (with credentials from the usual AWS_ variables;
// tests that need a receiver on this machine are skipped then).
package sns
