package sns

import (
	"net/netip"
	"testing"

	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

const (
	testTopic = "arn:aws:sns:us-east-1:000000000000:prices"
	testBase  = "http://sns.example.org:4566"
)

// world is a service over a broker in memory.
type world struct {
	*Service
	t  testing.TB
	ep *endpoint.Endpoint
}

func newWorld(t testing.TB) *world {
	t.Helper()
	o := broker.Options{Store: broker.NewMemoryStore(), Now: 1_700_000_000_000, DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4}
	o.Converters[broker.FormatAWS] = message.Converter{}
	core, err := broker.New(o)
	if err == nil {
		err = core.Recover(new(broker.Turn))
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ep: endpoint.New(core, endpoint.Options{})}
	w.Service = New(w.ep, Options{
		BaseURL: testBase, SignQueues: true, Queues: noQueues{},
		Turn: func() (*broker.Turn, func()) { return &broker.Turn{Now: o.Now}, func() {} },
	})
	w.ep.Register("sns", Version, Namespace, "", w.Service)
	return w
}

// fetched keeps the answer to a request.
type fetched struct{ got wire.Response }

func (p *fetched) Respond(_ *broker.Turn, r wire.Response)  { p.got = r }
func (p *fetched) OnGone(func())                            {}
func (p *fetched) Run(t *broker.Turn, f func(*broker.Turn)) { f(t) }

// get fetches a page of the endpoint without credentials, as validators do.
func (w *world) get(path string) wire.Response {
	w.t.Helper()
	p := new(fetched)
	r := &wire.Request{Method: "GET", Path: path, Host: "h", Header: wire.Fields{{Name: "host", Value: "h"}}}
	w.ep.Serve(new(broker.Turn), r, endpoint.Peer{Address: netip.MustParseAddr("127.0.0.1")}, p)
	return p.got
}

func testSubscription(protocol string) *subscription {
	sub := &subscription{}
	sub.ARN, sub.Topic, sub.Protocol = testTopic+":d843111e-1523-4f3c-807b-c434a9f87b0f", testTopic, protocol
	sub.derive()
	return sub
}

func newTestTopic(arn string, attributes ...string) *topic {
	t := &topic{state: new(topicState)}
	t.ARN, t.fifo, t.Attributes = arn, isFIFO(arn), map[string]string{}
	for i := 0; i+1 < len(attributes); i += 2 {
		t.Attributes[attributes[i]] = attributes[i+1]
	}
	return t
}
