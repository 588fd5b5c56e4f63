module github.com/hermodmq/hermod/conformance/interop

go 1.26.0

require (
	github.com/eclipse/paho.golang v0.23.0
	github.com/go-stomp/stomp/v3 v3.1.3
	github.com/hermodmq/hermod v0.0.0
	github.com/hermodmq/hermod/conformance/harness v0.0.0
	github.com/rabbitmq/amqp091-go v1.16.0
)

replace (
	github.com/hermodmq/hermod => ../..
	github.com/hermodmq/hermod/conformance/harness => ../harness
)
