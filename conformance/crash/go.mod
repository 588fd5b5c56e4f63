module github.com/hermodmq/hermod/conformance/crash

go 1.26.0

require (
	github.com/hermodmq/hermod/conformance/harness v0.0.0
	github.com/rabbitmq/amqp091-go v1.16.0
)

replace github.com/hermodmq/hermod/conformance/harness => ../harness
