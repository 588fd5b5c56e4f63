package stomp

import "testing"

// dialect is the one that tests of what both have in common run against.
var dialect = "rabbitmq"

// common are the tests of what is the same in both dialects. They run with
// the dialect of RabbitMQ by themselves and with ActiveMQ's here; the others
// say what differs, and cover both where there is a difference.
var common = map[string]func(*testing.T){
	"TestSTOMP1Negotiation":            TestSTOMP1Negotiation,
	"TestSTOMP2Connected":              TestSTOMP2Connected,
	"TestSTOMP3Login":                  TestSTOMP3Login,
	"TestSTOMP5BeforeConnect":          TestSTOMP5BeforeConnect,
	"TestSTOMP23HeartBeats":            TestSTOMP23HeartBeats,
	"TestSTOMP37Errors":                TestSTOMP37Errors,
	"TestSTOMP15Disconnect":            TestSTOMP15Disconnect,
	"TestSTOMP6Pieces":                 TestSTOMP6Pieces,
	"TestSTOMP7LineEnds":               TestSTOMP7LineEnds,
	"TestSTOMP9RepeatedHeaders":        TestSTOMP9RepeatedHeaders,
	"TestSTOMP10Bodies":                TestSTOMP10Bodies,
	"TestSTOMPToAMQP":                  TestSTOMPToAMQP,
	"TestSTOMPTopicsMeetAMQP":          TestSTOMPTopicsMeetAMQP,
	"TestSTOMP12FoundQueue":            TestSTOMP12FoundQueue,
	"TestSTOMP25PriorityQueue":         TestSTOMP25PriorityQueue,
	"TestSTOMP36Delay":                 TestSTOMP36Delay,
	"TestSTOMP36DelayToTopic":          TestSTOMP36DelayToTopic,
	"TestSTOMP16Modes":                 TestSTOMP16Modes,
	"TestSTOMP17Headers":               TestSTOMP17Headers,
	"TestSTOMP22Transactions":          TestSTOMP22Transactions,
	"TestSTOMP22Limits":                TestSTOMP22Limits,
	"TestSTOMP13Receipts":              TestSTOMP13Receipts,
	"TestSTOMP14ReceiptBeforeMessages": TestSTOMP14ReceiptBeforeMessages,
	"TestSTOMP19Prefetch":              TestSTOMP19Prefetch,
	"TestSTOMP20Unsubscribe":           TestSTOMP20Unsubscribe,
	"TestSTOMP26Backlog":               TestSTOMP26Backlog,
	"TestSTOMP27DurableRabbitMQ":       TestSTOMP27DurableRabbitMQ,
	"TestSTOMP29Exchanges":             TestSTOMP29Exchanges,
	"TestSTOMP31QueueArguments":        TestSTOMP31QueueArguments,
	"TestSTOMP32Browser":               TestSTOMP32Browser,
	"TestSTOMP33Groups":                TestSTOMP33Groups,
}

func TestActiveMQDialect(t *testing.T) {
	dialect = "activemq"
	defer func() { dialect = "rabbitmq" }()
	for name, test := range common {
		t.Run(name, test)
	}
}
