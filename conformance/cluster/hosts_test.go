package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

const (
	// hostsLimit bounds every wait for a client with a host list: many times
	// what it needs.
	hostsLimit = 2 * time.Minute
	// hostsKills is how often the active node is killed.
	hostsKills = 3
	// hostsLoad is how many numbers make their way before and after each kill.
	hostsLoad = 200
)

// hostProject is a stock client with a host list.
type hostProject struct {
	name     string
	runtime  string // a program that it needs
	folder   string // in conformance/clients
	build    [][]string
	command  []string // $DIR stands for the folder's copy
	topology bool     // the library declares and consumes again by itself, and says so
}

var (
	buildMaven = [][]string{{"mvn", "-q", "-B", "--no-transfer-progress", "compile", "dependency:copy-dependencies", "-DoutputDirectory=target/lib"}}
	runJava    = []string{"java", "-Xmx256m", "-cp", "$DIR/target/classes:$DIR/target/lib/*"}
)

var hostProjects = []hostProject{
	{name: "java", runtime: "mvn", folder: "java", build: buildMaven, command: append(slices.Clip(runJava), "conformance.HostList"), topology: true},
	{name: "spring", runtime: "mvn", folder: "java", build: buildMaven, command: append(slices.Clip(runJava), "conformance.HostListSpring")},
	{
		name: "pika", runtime: "python3", folder: "python",
		build: [][]string{
			{"python3", "-m", "venv", "venv"},
			{"venv/bin/pip", "install", "-q", "--disable-pip-version-check", "-r", "requirements.txt"},
		},
		command: []string{"$DIR/venv/bin/python", "$DIR/hosts.py"},
	},
}

// prepare builds the project in a copy, which projects of one folder share, and
// returns the command that runs it.
func (p hostProject) prepare(ctx context.Context, dir string) ([]string, error) {
	dir = filepath.Join(dir, p.folder)
	if _, err := os.Stat(dir); err != nil {
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "clients", p.folder))); err != nil {
			return nil, err
		}
		for _, step := range p.build {
			if err := runIn(ctx, dir, step[0], step[1:]...); err != nil {
				return nil, err
			}
		}
	}
	var command []string
	for _, word := range p.command {
		command = append(command, strings.ReplaceAll(word, "$DIR", dir))
	}
	return command, nil
}

func runIn(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts others, which end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

// TestHostListsOutliveKills: AMQP-87. Stock clients that know the three nodes by
// the host list of their library publish with confirms and consume with
// acknowledgements while the active node is killed again and again: nothing
// confirmed is lost, what comes again says so, and each client finds the next
// node by itself. RabbitMQ's Java client has its queues, bindings and consumers
// there again, which its program declares only once; Spring AMQP does the same
// for beans; pika leaves it to its user.
func TestHostListsOutliveKills(t *testing.T) {
	w := newWorld(t, nil)
	var run []*hostRun
	dir := t.TempDir()
	for _, p := range hostProjects {
		if r := w.runHosts(t, p, dir); r != nil {
			run = append(run, r)
		}
	}
	if len(run) == 0 {
		t.Skip("no runtime of any client")
	}
	for n := range hostsKills {
		w.killUnder(t, run, n)
	}
	for _, r := range run {
		t.Run(r.name, func(t *testing.T) { w.concludeHosts(t, r) })
	}
	if t.Failed() {
		t.Log(w.logs())
	}
}

// hostRun is a client while it runs.
type hostRun struct {
	hostProject
	*hostClient
}

// prefix begins the names of its queues and exchanges.
func (r *hostRun) prefix() string { return "hosts." + r.name }

// queue holds its numbers.
func (r *hostRun) queue() string { return r.prefix() + ".numbers" }

// runHosts builds and starts a client; nil if its runtime is missing, which is
// reported as skipped, and as failed in CI.
func (w *world) runHosts(t *testing.T, p hostProject, dir string) *hostRun {
	t.Helper()
	if _, err := exec.LookPath(p.runtime); err != nil {
		t.Run(p.name, func(t *testing.T) {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		})
		return nil
	}
	building, cancel := context.WithTimeout(t.Context(), hostsLimit)
	defer cancel()
	command, err := p.prepare(building, dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &hostRun{hostProject: p}
	command = append(command, strings.Join(w.addresses(portAMQP, 0), ","), r.prefix())
	if r.hostClient, err = w.startHostClient(t.Context(), command[0], command[1:]...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { <-r.ended }) // its context has ended then
	return r
}

// await waits until the client's ledger says so.
func (w *world) await(t *testing.T, r *hostRun, what string, done func(l *ledger) bool) {
	t.Helper()
	harness.Poll(hostsLimit, func() bool { return r.gone() || r.ask(done) })
	if !r.ask(done) {
		t.Fatalf("%s: %s did not happen\n%s\n%s%s", r.name, what, r.state(), w.states(), w.logs())
	}
}

// urge gives a command, now and then again because a connection may end with it,
// until its effect is there.
func (w *world) urge(t *testing.T, r *hostRun, command string, done func() bool) {
	t.Helper()
	var told time.Time
	harness.Poll(hostsLimit, func() bool {
		if time.Since(told) > time.Second && !r.gone() {
			told = time.Now()
			_ = r.tell(command) // else it has ended, which is seen
		}
		return r.gone() || done()
	})
	if !done() {
		t.Fatalf("%s: %q has no effect\n%s\n%s%s", r.name, command, r.state(), w.states(), w.logs())
	}
}

// killUnder kills the active node while it has the load of all clients, waits
// until they go on at another one, and starts the old one again.
func (w *world) killUnder(t *testing.T, run []*hostRun, n int) {
	t.Helper()
	before := make([]progress, len(run))
	mark := func() {
		for i, r := range run {
			r.ask(func(l *ledger) bool { before[i] = l.progress; return true })
		}
	}
	mark()
	for i, r := range run {
		w.await(t, r, "load before a kill", func(l *ledger) bool { return l.roundTrips(before[i].highest) >= hostsLoad })
	}
	old, active := -1, ""
	if !harness.Poll(hostsLimit, func() bool {
		if old = w.leader(serveLimit); old < 0 {
			return false
		}
		active = w.nodes[old].addr
		return !slices.ContainsFunc(run, func(r *hostRun) bool {
			return !r.ask(func(l *ledger) bool { return l.address("publisher") == active && l.address("consumer") == active })
		})
	}) {
		for _, r := range run {
			t.Log(r.name, r.state())
		}
		t.Fatalf("not all clients are connected to the node that serves\n%s%s", w.states(), w.logs())
	}
	mark()
	w.nodes[old].broker.Kill()
	news := fmt.Sprint("kill-", n+1)
	for i, r := range run {
		w.await(t, r, "connecting to another node after "+news, func(l *ledger) bool {
			return l.address("publisher") != active && l.address("consumer") != active
		})
		// Two queues and two consumers: those of the numbers, and of the news,
		// whose queue the broker names.
		if r.topology && !r.ask(func(l *ledger) bool {
			return l.kept > before[i].kept && l.renamed > before[i].renamed && l.consumers >= before[i].consumers+2
		}) {
			t.Fatalf("%s: not all that was declared is there again after %s\n%s", r.name, news, r.state())
		}
		w.urge(t, r, "news "+news, func() bool {
			return r.ask(func(l *ledger) bool { return slices.Contains(l.news, news) })
		})
	}
	for i, r := range run {
		w.await(t, r, "load after "+news, func(l *ledger) bool { return l.roundTrips(before[i].highest) >= hostsLoad })
		// The newest delivery is never acknowledged: it has to come again.
		w.await(t, r, "a flagged delivery after "+news, func(l *ledger) bool { return l.again > before[i].again })
	}
	if err := w.start(old); err != nil {
		t.Fatalf("%v\n%s", err, w.logs())
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	for _, r := range run {
		w.queueHolds(t, r, func(q amqp.Queue) bool { return q.Consumers == 1 })
	}
}

// concludeHosts stops a client when everything that it published is confirmed,
// and judges.
func (w *world) concludeHosts(t *testing.T, r *hostRun) {
	w.urge(t, r, "stop", func() bool { return r.ask(func(l *ledger) bool { return l.stopped }) })
	// Lost ones never come: then the account says which.
	harness.Poll(hostsLimit, func() bool { return r.gone() || r.ask(func(l *ledger) bool { return l.due == 0 }) })
	w.urge(t, r, "quit", r.gone)
	if r.err != nil {
		t.Errorf("it did not end in order\n%s", r.state())
	}
	w.queueHolds(t, r, func(q amqp.Queue) bool { return q.Messages == 0 && q.Consumers == 0 })
	r.ask(func(l *ledger) bool {
		t.Log(l)
		for _, v := range l.violations() {
			t.Error(v)
		}
		return true
	})
	if t.Failed() {
		t.Log(r.state())
	}
}

// queueHolds waits for what the active node says of a client's queue.
func (w *world) queueHolds(t *testing.T, r *hostRun, as func(q amqp.Queue) bool) {
	t.Helper()
	var q amqp.Queue
	err := errors.New("no node serves")
	if !harness.Poll(hostsLimit, func() bool {
		node := w.leader(serveLimit)
		if node < 0 {
			return false
		}
		var ch *amqp.Channel
		var cut func()
		if ch, cut, err = w.channel(w.addresses(portAMQP, node)[0]); err != nil {
			return false
		}
		defer cut()
		q, err = ch.QueueDeclarePassive(r.queue(), true, false, false, false, nil)
		return err == nil && as(q)
	}) {
		t.Errorf("%s: the queue is %+v (%v)\n%s", r.name, q, err, r.state())
	}
}

// TestHostLedger: what the account of a client with a host list finds.
func TestHostLedger(t *testing.T) {
	for _, c := range []struct {
		name, events, want string
	}{
		{"all is well", "sent 1,confirmed 1,got 1,sent 2,got 2,confirmed 2", ""},
		{"again with the flag", "sent 1,confirmed 1,got 1,again 1", ""},
		{"first delivery with the flag", "sent 1,confirmed 1,again 1", ""},
		{"published again, both copies came", "sent 1,sent 1,confirmed 1,got 1,got 1,again 1", ""},
		{"confirmed and lost", "sent 1,confirmed 1,sent 2,confirmed 2,got 2", "1 confirmed messages lost, such as [1]"},
		{"again without the flag", "sent 1,confirmed 1,got 1,got 1", "1 was published 1 times and delivered 2 times without the flag redelivered"},
		{"three of two copies", "sent 1,sent 1,confirmed 1,got 1,got 1,got 1", "1 was published 2 times and delivered 3 times without the flag redelivered"},
		{"a stranger", "sent 1,confirmed 1,got 1,got 7", "7 was never published"},
		{"no confirm", "sent 1,got 1", "1 was never confirmed"},
		{"a number left out", "sent 2,confirmed 2,got 2", "1 was never confirmed"},
		{"no route", "sent 1,returned 1,confirmed 1,got 1", "unexpected: returned 1"},
		{"a consumer ended", "cancelled tag", "unexpected: cancelled tag"},
		{"not a number", "got x", "unexpected: got x"},
		{"no role", "connected someone 10.0.0.1", "unexpected: connected someone 10.0.0.1"},
		{"too few words", "connected publisher", "unexpected: connected publisher"},
		{"an empty line", "sent 1,,confirmed 1,got 1", "unexpected: "},
	} {
		l := newLedger()
		for _, line := range strings.Split(c.events, ",") {
			l.add(line)
		}
		if got := strings.Join(l.violations(), "; "); got != c.want {
			t.Errorf("%s: found %q, want %q", c.name, got, c.want)
		}
		if lost := strings.Contains(c.want, "lost"); (l.due > 0) != lost {
			t.Errorf("%s: %d are due", c.name, l.due)
		}
	}
}
