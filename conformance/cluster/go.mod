module github.com/hermodmq/hermod/conformance/cluster

go 1.26.0

require (
	github.com/eclipse/paho.mqtt.golang v1.5.1
	github.com/go-stomp/stomp/v3 v3.1.3
	github.com/hanwen/go-fuse/v2 v2.12.1
	github.com/hermodmq/hermod v0.0.0
	github.com/hermodmq/hermod/conformance/harness v0.0.0
	github.com/rabbitmq/amqp091-go v1.16.0
	go.etcd.io/bbolt v1.5.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/gorilla/websocket v1.5.3 // indirect
	golang.org/x/net v0.44.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
)

replace (
	github.com/hermodmq/hermod => ../..
	github.com/hermodmq/hermod/conformance/harness => ../harness
)
