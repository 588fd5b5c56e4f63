package amqpconf

// Deviation is one known difference between a reference broker and the
// checklist.
type Deviation struct {
	// Code and Text replace the expected reply where the reference answers
	// with another one. Zero means that the case is skipped.
	Code int
	Text string
	// Reason says why the difference is accepted.
	Reason string
}

// Deviations of RabbitMQ 3.10.8 from what a 4.x broker (and hermod) answers,
// by the key the test names.
var Deviations = map[string]Deviation{
	"early close": {Reason: "3.10 drops the TCP connection after 3 s instead of sending connection.close before connection.open"},

	"AMQP-12 body longer than announced": {Reason: "3.10 waits for more; 4.x answers 501"},
	"AMQP-17 revoked read":               {Reason: "consumers are rechecked since 3.11"},
	"AMQP-32":                            {Code: 503, Text: "~COMMAND_INVALID - ", Reason: "3.x closes the connection, 4.x only the channel"},
	"AMQP-52 default delivery limit":     {Reason: "the default of 20 came with 4.0"},
	"AMQP-53 bad x-max-age":              {Code: 541, Text: "INTERNAL_ERROR", Reason: "3.10 fails inside instead of answering 406"},
	"AMQP-57 quorum":                     {Reason: "after a hard kill 3.10 answers 541 until its quorum queue has elected itself again"},
	"hostile body of 16 EiB announced":   {Reason: "3.10 waits for the body; 4.x refuses more than 512 MiB"},
	"AMQP-53 bad x-stream-offset":        {Code: 541, Text: "INTERNAL_ERROR", Reason: "3.10 fails inside instead of answering 406"},
	"AMQP-72 x-last-death":               {Reason: "the headers came with 3.13"},
	"AMQP-41 x-delayed-message":          {Reason: "community plugin, not installed with the reference"},
}
