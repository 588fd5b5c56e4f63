package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// hostClient is a program that publishes numbers, consumes them, and knows all
// nodes by the host list of its library. It writes what happens, one event a
// line:
//
//	connected ROLE ADDRESS   publisher or consumer, the first time and after each recovery
//	sent N                   about to be published; again if its outcome is unknown or it was refused
//	confirmed N
//	returned N               routed to no queue
//	got N                    delivered
//	again N                  delivered with the flag redelivered
//	queue OLD NEW            the library declared it again; NEW is its name
//	consumer OLD NEW         likewise a consumer
//	news TEXT                came through a queue that ends with its connection
//	cancelled TAG            the broker ended a consumer
//	stopped                  everything is confirmed
//
// and takes the commands "news TEXT" (publish it to whom the queue is bound),
// "stop" (publish no new numbers) and "quit" (acknowledge everything and end).
type hostClient struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{} // closed when it is gone and all that it wrote was read
	err   error         // of its end

	mu   sync.Mutex
	said strings.Builder // on standard error
	ledger
}

// tally is what is known of one number.
type tally struct {
	sent      int
	confirmed bool
	fresh     int // deliveries without the flag
	flagged   int
}

// progress are the counters of a ledger.
type progress struct {
	highest   int // number sent
	due       int // confirmed and not delivered
	again     int // flagged deliveries
	kept      int // queues that were declared again
	renamed   int // and got another name
	consumers int // consumers that were there again
}

// ledger is what the events of one client amount to.
type ledger struct {
	progress
	numbers map[int]*tally
	at      map[string][]string // role -> addresses it was connected to, in order
	news    []string
	stopped bool
	wrong   []string // what must not happen
}

func newLedger() ledger { return ledger{numbers: map[int]*tally{}, at: map[string][]string{}} }

// add takes one event.
func (l *ledger) add(line string) {
	word := strings.Fields(line)
	args := map[string]int{
		"connected": 2, "sent": 1, "confirmed": 1, "got": 1, "again": 1, "queue": 2, "consumer": 2, "news": 1, "stopped": 0,
	}
	if want, known := args[strings.Join(word[:min(1, len(word))], "")]; !known || len(word) != want+1 {
		l.wrong = append(l.wrong, line)
		return
	}
	switch word[0] {
	case "connected":
		if word[1] != "publisher" && word[1] != "consumer" {
			l.wrong = append(l.wrong, line)
		}
		l.at[word[1]] = append(l.at[word[1]], word[2])
	case "queue":
		if word[1] == word[2] {
			l.kept++
		} else {
			l.renamed++
		}
	case "consumer":
		l.consumers++
	case "news":
		l.news = append(l.news, word[1])
	case "stopped":
		l.stopped = true
	default:
		n, err := strconv.Atoi(word[1])
		if err != nil {
			l.wrong = append(l.wrong, line)
			return
		}
		l.count(word[0], n)
	}
}

func (l *ledger) count(event string, n int) {
	m := l.numbers[n]
	if m == nil {
		m = &tally{}
		l.numbers[n] = m
	}
	due := m.due()
	switch event {
	case "sent":
		m.sent++
		l.highest = max(l.highest, n)
	case "confirmed":
		m.confirmed = true
	case "got":
		m.fresh++
	case "again":
		m.flagged++
		l.again++
	}
	switch {
	case m.due() && !due:
		l.due++
	case due && !m.due():
		l.due--
	}
}

// due says that a number is confirmed and was not delivered.
func (m *tally) due() bool { return m.confirmed && m.fresh+m.flagged == 0 }

// roundTrips is how many numbers above n were confirmed and delivered.
func (l *ledger) roundTrips(n int) (count int) {
	for n++; n <= l.highest; n++ {
		if m := l.numbers[n]; m != nil && m.confirmed && !m.due() {
			count++
		}
	}
	return count
}

// address is where a role is connected; "" is nowhere yet.
func (l *ledger) address(role string) string {
	if list := l.at[role]; len(list) > 0 {
		return list[len(list)-1]
	}
	return ""
}

// violations lists what is wrong when all is over.
func (l *ledger) violations() (list []string) {
	for n := range l.highest {
		if m := l.numbers[n+1]; m == nil || !m.confirmed {
			list = append(list, fmt.Sprintf("%d was never confirmed", n+1))
		}
	}
	var lost []int
	for _, n := range slices.Sorted(maps.Keys(l.numbers)) {
		m := l.numbers[n]
		if m.due() {
			lost = append(lost, n)
		}
		switch {
		case m.sent == 0:
			list = append(list, fmt.Sprintf("%d was never published", n))
		case m.fresh > m.sent: // each copy comes without the flag once at most
			list = append(list, fmt.Sprintf("%d was published %d times and delivered %d times without the flag redelivered", n, m.sent, m.fresh))
		}
	}
	if len(lost) > 0 {
		list = append(list, fmt.Sprintf("%d confirmed messages lost, such as %v", len(lost), lost[:min(len(lost), 8)]))
	}
	for _, line := range l.wrong {
		list = append(list, "unexpected: "+line)
	}
	return list
}

func (l *ledger) String() string {
	republished, twice := 0, 0
	for _, m := range l.numbers {
		republished += max(m.sent-1, 0)
		twice += max(m.fresh+m.flagged-1, 0)
	}
	return fmt.Sprintf("published=%d published-again=%d delivered-again=%d flagged=%d lost=%d, publisher at %v, consumer at %v",
		l.highest, republished, twice, l.again, l.due, l.at["publisher"], l.at["consumer"])
}

// startHostClient runs the program where clients are. It ends with ctx.
func (c *cluster) startHostClient(ctx context.Context, name string, args ...string) (*hostClient, error) {
	h := &hostClient{cmd: exec.CommandContext(ctx, name, args...), ended: make(chan struct{}), ledger: newLedger()}
	h.cmd.WaitDelay = 5 * time.Second
	h.cmd.Stderr = writerFunc(func(p []byte) (int, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.said.Write(p)
	})
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	start := h.cmd.Start
	if c.client != nil {
		start = func() error { return c.client.inside(h.cmd.Start) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			h.mu.Lock()
			h.add(lines.Text())
			h.mu.Unlock()
		}
		h.err = h.cmd.Wait()
		close(h.ended)
	}()
	return h, nil
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// ask is read with the ledger held.
func (h *hostClient) ask(about func(l *ledger) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return about(&h.ledger)
}

// tell gives a command.
func (h *hostClient) tell(command string) error {
	_, err := io.WriteString(h.in, command+"\n")
	return err
}

// gone says that the program has ended.
func (h *hostClient) gone() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}

// state is for failure messages.
func (h *hostClient) state() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := fmt.Sprintf("%s\nqueues there again: %d, renamed %d, consumers %d, news %v, stopped %v, unexpected %q\n%s",
		&h.ledger, h.kept, h.renamed, h.consumers, h.news, h.stopped, h.wrong, lastLines(h.said.String(), 40))
	if h.gone() {
		text += fmt.Sprintf("\nit has ended: %v", h.err)
	}
	return text
}
