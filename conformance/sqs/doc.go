// Package sqs tests a running endpoint of the Simple Queue Service with the
// AWS SDK for Go, and with requests of the Query protocol that the SDK's signer
// signed. Every test names its line of the acceptance list.
//
// SQS_ENDPOINT names another endpoint than a broker started here, for example
// https://sqs.eu-central-1.amazonaws.com; credentials then come from
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the region
// from AWS_REGION. Tests that need more than an endpoint are skipped.
package sqs
