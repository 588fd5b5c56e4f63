package broker

import "strings"

// ReplyQueue is the name clients consume from to get direct replies; the
// address of such a consumer is ReplyQueue + "." + suffix.
const ReplyQueue = "amq.rabbitmq.reply-to"

func isReplyName(name string) bool {
	return name == ReplyQueue || strings.HasPrefix(name, ReplyQueue+".")
}

// replyQueue answers for names of direct reply-to, which are no queues but can
// be declared to ask whether somebody listens.
func (b *Broker) replyQueue(name string) (exists, isReply bool) {
	switch {
	case name == ReplyQueue:
		return true, true
	case isReplyName(name):
		return b.ReplyAddressExists(name), true
	}
	return false, false
}
