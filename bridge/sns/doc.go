// Package sns is Amazon SNS over the broker's topics: a topic of SNS is the
// topic of that literal name in amq.topic, so that its publishers and
// subscribers may speak any protocol.
//
// # Subscriptions
//
// A subscription is a route from the topic. One to an SQS queue of the same
// virtual host is a binding of that queue, with the subscription's filter and,
// for the envelope, its form ([broker.FormArgument]): what a publish brings
// there is in the batch of the publish. Every other subscription is a hidden
// durable queue with a [courier] that takes messages out and delivers them:
// HTTP, mail, webhooks, and SQS queues that are in another account or missing.
// Topics and subscriptions are facts in the store; bindings and hidden queues
// are made to agree with them (place.go), at start and whenever they change.
//
// # Goroutines and locks
//
// Calls run on event loops and must not block; what may (signing, deliveries)
// runs on goroutines of the package, bounded in number. Service.mu guards the
// registry of topics and subscriptions, whose values are replaced and never
// changed; it is never held while the broker is called.
package sns
