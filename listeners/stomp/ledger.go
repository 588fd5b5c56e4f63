package stomp

import "github.com/hermodmq/hermod/listeners/delivery"

// unsettled is one delivery the client has to acknowledge; its Data is the
// consumer.
type unsettled = delivery.Unsettled[*consumer]
