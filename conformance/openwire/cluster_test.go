package openwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// clusterPatience bounds the wait for three nodes to be a cluster.
const clusterPatience = 60 * time.Second

// members is a cluster as scenarios control it: what they kill is its active
// node.
type members []*harness.Broker

// start starts the nodes that were killed, and waits for them to have
// everything.
func (m members) start() error {
	for _, b := range m {
		select {
		case <-b.Exited():
			if err := b.Restart(); err != nil {
				return err
			}
		default:
		}
	}
	if !harness.Poll(clusterPatience, func() bool { return m.leader(len(m)) != nil }) {
		return errors.New("the cluster is not whole again")
	}
	return nil
}

func (m members) usage() (map[string]int64, error) {
	return nil, errors.New("a cluster is not measured")
}

func (m members) kill() error {
	l := m.leader(1)
	if l == nil {
		return errors.New("no node serves")
	}
	l.Kill()
	return nil
}

// transfer has the active node hand over to one that holds everything.
func (m members) transfer() error {
	var l *harness.Broker
	if !harness.Poll(clusterPatience, func() bool { l = m.leader(2); return l != nil }) {
		return errors.New("no node serves that could hand over")
	}
	if out, err := l.CTL("cluster", "transfer"); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// leader is the node that serves while so many voters hold everything.
func (m members) leader(redundant int) *harness.Broker {
	for _, b := range m {
		text, err := fetch("http://" + b.Addr("metrics") + "/health") // an error but on the active node
		var h struct {
			Redundant int `json:"redundant"`
		}
		if err == nil && json.Unmarshal([]byte(text), &h) == nil && h.Redundant >= redundant {
			return b
		}
	}
	return nil
}

// TestCluster runs the scenarios that need a cluster, with the first client, and
// failover:(tcp://a,tcp://b,tcp://c) over three kills of the active node.
func TestCluster(t *testing.T) {
	g := wantedGenerations(t)[0]
	g.compile(t)
	const nodes = 3
	var peers []string
	host := func(i int) string { return fmt.Sprintf("127.78.0.%d", i+1) }
	for i := range nodes {
		peers = append(peers, host(i)+":27690")
	}
	m := make(members, nodes)
	errs := make(chan error, nodes)
	dir := t.TempDir()
	for i := range m {
		go func() {
			b, err := harness.Start(harness.Options{DataDir: filepath.Join(dir, host(i)), Set: []string{
				fmt.Sprint("node.name=n", i+1), "ha.enabled=true", "ha.bind=" + peers[i], "ha.peers=" + strings.Join(peers, ","), "ha.secret=conformance-openwire-secret",
				"listeners.openwire.address=" + host(i) + ":27691", "listeners.metrics.address=" + host(i) + ":27692",
				"listeners.amqp.address=" + host(i) + ":27693", "listeners.aws.address=off",
			}})
			m[i] = b
			errs <- err
		}()
	}
	var failed error
	for range m {
		failed = errors.Join(failed, <-errs)
	}
	t.Cleanup(func() {
		for _, b := range m {
			if b == nil {
				continue
			}
			if t.Failed() {
				t.Logf("a node's last words:\n%s", b.Log())
			}
			b.Kill()
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	var active *harness.Broker
	if !harness.Poll(clusterPatience, func() bool { active = m.leader(nodes); return active != nil }) {
		t.Fatal("no cluster within", clusterPatience)
	}
	var amqp, openwire []string
	for i := range m {
		amqp, openwire = append(amqp, host(i)+":27693"), append(openwire, "tcp://"+host(i)+":27691")
	}
	g.java(t, "openwire.Runner", []string{"AMQP_NODES=" + strings.Join(amqp, ","), "OPENWIRE_NODES=" + strings.Join(openwire, ","), "BROKER_KIND=hermod", "BROKER_URL=tcp://" + hostOf(active) + ":27691", "CONTROL=" + serve(t, m), "CLUSTER=on"})

	// OW-70 with a list of three addresses: whoever is the active node is killed.
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	urls := make([]string, nodes)
	for i := range urls {
		urls[i] = "tcp://" + host(i) + ":27691"
	}
	g.java(t, "openwire.Runner", []string{
		"BROKER_KIND=hermod", "BROKER_URL=tcp://" + hostOf(m.leader(nodes)) + ":27691", "BROKER_URLS=" + strings.Join(urls, ","),
		"CONTROL=" + serve(t, m), "RAW=off", "FAILOVER_KILLS=3", "RUN=OW-70 Failover.producersAndConsumersLiveThroughKills",
	})
}

// hostOf is the address of a node.
func hostOf(b *harness.Broker) string {
	host, _, _ := strings.Cut(b.Addr("metrics"), ":")
	return host
}
