module github.com/hermodmq/hermod/conformance/mqtt

go 1.26.0

require (
	github.com/eclipse/paho.golang v0.23.0
	github.com/eclipse/paho.mqtt.golang v1.5.1
	github.com/gorilla/websocket v1.5.3
	github.com/hermodmq/hermod v0.0.0
	github.com/hermodmq/hermod/conformance/harness v0.0.0
	github.com/mochi-mqtt/server/v2 v2.7.9
	github.com/rabbitmq/amqp091-go v1.16.0
)

require (
	golang.org/x/net v0.44.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
)

replace (
	github.com/hermodmq/hermod => ../..
	github.com/hermodmq/hermod/conformance/harness => ../harness
)
