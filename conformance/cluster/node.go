package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// Ports of every node, each on an address of its own.
const (
	portAMQP     = "5672"
	portMQTT     = "1883"
	portSTOMP    = "61613"
	portOpenWire = "61616"
	portAWS      = "4566"
	portMetrics  = "15692"
	portRaft     = "5680"
)

// secret is what the nodes of a test cluster share.
const secret = "conformance-cluster-secret"

// node is one member: its address, its folder and, while it runs, its process.
type node struct {
	name   string
	addr   string // IP address
	dir    string
	host   *host // nil: on a loopback address
	peers  string
	extra  []string // further settings
	bin    string   // program; "" is the one under test
	broker *harness.Broker
}

// settings of a node: every listener on its own address. A node without peers
// is what everybody runs who has no cluster.
func (n *node) settings() []string {
	list := []string{
		"node.name=" + n.name,
		"listeners.amqp.address=" + net.JoinHostPort(n.addr, portAMQP),
		"listeners.mqtt.address=" + net.JoinHostPort(n.addr, portMQTT),
		"listeners.stomp.address=" + net.JoinHostPort(n.addr, portSTOMP),
		"listeners.openwire.address=" + net.JoinHostPort(n.addr, portOpenWire),
		"listeners.aws.address=" + net.JoinHostPort(n.addr, portAWS),
		"aws.auth=relaxed",
		"listeners.metrics.address=" + net.JoinHostPort(n.addr, portMetrics),
		"auth.loopback_users=",
	}
	if strings.Contains(n.peers, ",") {
		list = append(list,
			"ha.enabled=true",
			"ha.bind="+net.JoinHostPort(n.addr, portRaft),
			"ha.peers="+n.peers,
			"ha.secret="+secret,
		)
	}
	return append(list, n.extra...)
}

// start runs the node, again if it ran before, and returns when it says that
// it is ready, to lead or to stand by.
func (n *node) start() error {
	begin := func() (err error) {
		n.broker, err = harness.Start(harness.Options{DataDir: n.dir, Set: n.settings(), Bin: n.bin})
		return err
	}
	if n.host == nil {
		return begin()
	}
	return n.host.inside(begin)
}

func (n *node) signal(s syscall.Signal) error { return syscall.Kill(n.broker.PID(), s) }

// health is what a node says of itself.
type health struct {
	Serving bool   // answered 200
	Role    string `json:"role"`
	Leader  string `json:"leader"`
	Term    uint64 `json:"term"`
	Last    uint64 `json:"last_index"`
	Applied uint64 `json:"applied"`

	Redundant int  `json:"redundant"` // voters that hold everything, the leader says
	DiskLow   bool `json:"disk_low"`

	Nodes []member `json:"nodes"` // complete on the leader only

	Known   int `json:"format_level"`         // format level of its program
	Reached int `json:"cluster_format_level"` // and of what it has
}

// member is what a leader says of a node.
type member struct {
	Name    string `json:"name"`
	Lag     uint64 `json:"lag_entries"`
	DiskLow bool   `json:"disk_low"`
}

// cluster is three nodes and the network between them and the clients.
type cluster struct {
	nodes  []*node
	net    *fabric // nil: all on loopback addresses
	client *host   // where clients are; nil on loopback
	http   *http.Client
}

// newCluster prepares n nodes; nothing runs yet. With apart they get a network
// of their own if the machine allows it; figures are taken without, because a
// switch in user space costs what it connects. Close ends and removes what it
// started.
func newCluster(n int, dir string, apart bool) *cluster {
	c := &cluster{}
	if apart {
		if f, err := newFabric(n + 1); err == nil {
			c.net, c.client = f, f.hosts[n]
		}
	}
	c.http = &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return c.dial(ctx, addr) },
		DisableKeepAlives: true,
	}}
	var peers []string
	for i := range n {
		m := &node{name: fmt.Sprintf("n%d", i+1), dir: filepath.Join(dir, fmt.Sprintf("n%d", i+1)), addr: fmt.Sprintf("127.77.0.%d", i+1)}
		if c.net != nil {
			m.host = c.net.hosts[i]
			m.addr = m.host.addr.String()
		}
		peers = append(peers, net.JoinHostPort(m.addr, portRaft))
		c.nodes = append(c.nodes, m)
	}
	for _, m := range c.nodes {
		m.peers = strings.Join(peers, ",")
	}
	return c
}

// start runs the nodes named by their indexes, all of them if none is, at the
// same moment, and waits until each is ready.
func (c *cluster) start(indexes ...int) error {
	if len(indexes) == 0 {
		for i := range c.nodes {
			indexes = append(indexes, i)
		}
	}
	errs := make(chan error, len(indexes))
	for _, i := range indexes {
		go func() { errs <- c.nodes[i].start() }()
	}
	var first error
	for range indexes {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (c *cluster) Close() {
	for _, n := range c.nodes {
		if n.broker != nil {
			_ = n.signal(syscall.SIGCONT)
			n.broker.Kill()
		}
	}
	if c.net != nil {
		c.net.Close()
	}
}

// dial connects a client.
func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	if c.client != nil {
		return c.client.dial(ctx, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", addr)
}

// dialAny is dial for libraries that know no context.
func (c *cluster) dialAny(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.dial(ctx, addr)
}

// addresses are those of a port on all nodes, beginning with the one that
// first says.
func (c *cluster) addresses(port string, first int) []string {
	list := make([]string, 0, len(c.nodes))
	for i := range c.nodes {
		list = append(list, net.JoinHostPort(c.nodes[(first+i)%len(c.nodes)].addr, port))
	}
	return list
}

// health asks a node; the error says that it does not answer.
func (c *cluster) health(i int) (health, error) {
	var h health
	resp, err := c.http.Get("http://" + net.JoinHostPort(c.nodes[i].addr, portMetrics) + "/health")
	if err != nil {
		return h, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return h, err
	}
	if string(body) == "ok\n" { // a node without HA
		h.Serving, h.Redundant = true, 1
		return h, nil
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return h, fmt.Errorf("health of %s: %w: %q", c.nodes[i].name, err, body)
	}
	h.Serving = resp.StatusCode == http.StatusOK
	return h, nil
}

// leader waits until a node serves and returns its index; -1 if none does
// within the limit.
func (c *cluster) leader(limit time.Duration) int {
	found := -1
	harness.Poll(limit, func() bool {
		for i := range c.nodes {
			if h, err := c.health(i); err == nil && h.Serving {
				found = i
				return true
			}
		}
		return false
	})
	return found
}

// whole waits until one node serves and the others stand by, having applied
// what it had when it was asked.
func (c *cluster) whole(limit time.Duration) bool {
	return harness.Poll(limit, func() bool {
		l := c.leader(limit)
		if l < 0 {
			return false
		}
		lead, err := c.health(l)
		if err != nil || lead.Redundant < len(c.nodes) {
			return false
		}
		for i := range c.nodes {
			if i == l {
				continue
			}
			if h, err := c.health(i); err != nil || h.Serving || h.Term != lead.Term || h.Applied < lead.Applied {
				return false
			}
		}
		return true
	})
}

// logs are the last words of every node, for failure messages.
func (c *cluster) logs() string {
	var b strings.Builder
	for _, n := range c.nodes {
		if n.broker != nil {
			fmt.Fprintf(&b, "--- %s\n%s\n", n.name, lastLines(n.broker.Log(), 40))
		}
	}
	return b.String()
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
