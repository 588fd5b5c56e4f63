package mqtt

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// channel opens an AMQP channel to the shared broker.
func channel(t *testing.T) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + shared.Addr("amqp") + "/")
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	must(t, err)
	return ch
}

// listen binds a queue to amq.topic and consumes from it.
func listen(t *testing.T, ch *amqp.Channel, key string) <-chan amqp.Delivery {
	t.Helper()
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	must(t, err)
	must(t, ch.QueueBind(q.Name, key, "amq.topic", false, nil))
	d, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	must(t, err)
	return d
}

func receive(t *testing.T, d <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case m := <-d:
		return m
	case <-time.After(wait):
		t.Fatal("no delivery in time")
	}
	return amqp.Delivery{}
}

func TestMQTT76ToAMQP(t *testing.T) {
	root := unique("x")
	in := listen(t, channel(t), root+".#")
	p := dial(t, wire.V5, unique("p"))
	p.publish(root+"/a.b/größe", "body\x00\xff", 1, props(wire.Properties(nil).
		AppendText(wire.ContentType, "text/plain").AppendText(wire.CorrelationData, "corr").
		AppendText(wire.ResponseTopic, "re/ply").AppendNumber(wire.MessageExpiry, 60).
		AppendUser("k1", "v1").AppendUser("k2", "😀")))
	d := receive(t, in)
	if d.RoutingKey != root+".a/b.größe" || string(d.Body) != "body\x00\xff" || d.Exchange != "amq.topic" {
		t.Errorf("key %q, exchange %q, body %q", d.RoutingKey, d.Exchange, d.Body)
	}
	if d.ContentType != "text/plain" || d.CorrelationId != "corr" || d.ReplyTo != "re.ply" || d.Expiration != "60000" ||
		d.DeliveryMode != amqp.Persistent || d.Headers["k1"] != "v1" || d.Headers["k2"] != "😀" {
		t.Errorf("properties %+v", d)
	}
	p.publish(root+"/q0", "m", 0)
	if d := receive(t, in); d.DeliveryMode == amqp.Persistent {
		t.Errorf("QoS 0 came with delivery mode %d", d.DeliveryMode)
	}
}

func TestMQTT76FromAMQP(t *testing.T) {
	root := unique("x")
	r := dial(t, wire.V5, unique("s"))
	r.sub(root+"/#", 2)
	ch := channel(t)
	publish := func(key string, m amqp.Publishing) {
		must(t, ch.PublishWithContext(context.Background(), "amq.topic", key, false, false, m))
	}
	publish(root+".a/b.c", amqp.Publishing{
		Body: []byte("one"), DeliveryMode: amqp.Persistent, ContentType: "text/plain", CorrelationId: "corr", ReplyTo: "re.ply",
		Expiration: "60000", MessageId: "id", AppId: "app", Type: "kind", Priority: 4,
		Headers: amqp.Table{"n": int32(5)},
	})
	m := r.want("one")[0]
	if string(m.Topic) != root+"/a.b/c" || m.QoS != 1 {
		t.Errorf("topic %q, QoS %d", m.Topic, m.QoS)
	}
	users := map[string]string{}
	for v, rest, ok := m.Props.Next(); ok; v, rest, ok = rest.Next() {
		if v.ID == wire.UserProperty {
			users[string(v.Name)] = string(v.Data)
		}
	}
	if m.Props.Text(wire.ContentType) != "text/plain" || m.Props.Text(wire.CorrelationData) != "corr" ||
		m.Props.Text(wire.ResponseTopic) != "re/ply" || m.Props.Number(wire.MessageExpiry, 0) != 60 ||
		users["n"] != "5" || users["message-id"] != "id" || users["app-id"] != "app" || users["type"] != "kind" || users["priority"] != "4" {
		t.Errorf("properties % x, user properties %v", m.Props, users)
	}
	publish(root+".*", amqp.Publishing{Body: []byte("no topic of MQTT")})
	publish(root+".x", amqp.Publishing{Body: []byte("transient")})
	if m := r.want("transient")[0]; m.QoS != 0 {
		t.Errorf("transient message at QoS %d", m.QoS)
	}
}

// TestMQTT76SharedQueue lets an AMQP consumer compete in a shared subscription.
func TestMQTT76SharedQueue(t *testing.T) {
	root := unique("sh")
	dial(t, wire.V5, unique("off"), lasting(wire.V5)...).subAndBye("$share/g/"+root, 1)
	dial(t, wire.V5, unique("p")).publish(root, "m", 1)
	d, err := channel(t).Consume("mqtt-shared-g-"+root, "", true, false, false, false, nil)
	must(t, err)
	if m := receive(t, d); string(m.Body) != "m" {
		t.Errorf("got %q", m.Body)
	}
}

func TestMQTT73VirtualHosts(t *testing.T) {
	for _, args := range [][]string{{"add_vhost", "other"}, {"set_permissions", "-p", "other", "guest", ".*", ".*", ".*"}} {
		_, err := shared.CTL(args...)
		must(t, err)
	}
	id, topic := unique("same"), unique("t")
	here := dial(t, wire.V5, id, login("guest", "guest"))
	here.sub(topic, 1)
	there := dial(t, wire.V5, id, login("other:guest", "guest"))
	there.sub(topic, 1)
	dial(t, wire.V5, unique("p"), login("other:guest", "guest")).publish(topic, "there", 1)
	there.want("there")
	here.silent()
}

func TestMQTT74TopicPermissions(t *testing.T) {
	b := startOwn(t)
	for _, args := range [][]string{{"add_user", "meek", "pw"}, {"set_permissions", "-p", "/", "meek", ".*", ".*", ".*"},
		{"set_topic_permissions", "-p", "/", "meek", "amq.topic", `^{client_id}\.`, `^open\.|^{username}\.`}} {
		_, err := b.CTL(args...)
		must(t, err)
	}
	r := dialTo(t, b, wire.V5, "dev1", login("meek", "pw"))
	if code := r.subscribe("secret/#", 0); code != wire.NotAuthorized {
		t.Errorf("SUBACK 0x%02X", byte(code))
	}
	r.sub("meek/x", 0)
	if got := r.publish("dev2/x", "m", 1); got != wire.NotAuthorized {
		t.Errorf("PUBACK 0x%02X", byte(got))
	}
	if got := r.publish("dev1/x", "m", 1); got.Failed() {
		t.Errorf("PUBACK 0x%02X", byte(got))
	}
	v3 := dialTo(t, b, wire.V311, "dev3", login("meek", "pw"))
	if code := v3.subscribe("secret/#", 1); code != 0x80 {
		t.Errorf("SUBACK 0x%02X", byte(code))
	}
}

func TestMQTT75Listings(t *testing.T) {
	r := dial(t, wire.V5, unique("c"))
	r.sub(unique("t"), 1)
	if out, err := shared.CTL("list_connections", "protocol"); err != nil || len(out) == 0 {
		t.Errorf("list_connections: %q, %v", out, err)
	}
	if out, err := shared.CTL("list_consumers"); err != nil {
		t.Errorf("list_consumers: %q, %v", out, err)
	}
}
