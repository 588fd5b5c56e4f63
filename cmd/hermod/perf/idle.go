package perf

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	idleDialers   = 32    // connections being opened at the same time
	portsPerLocal = 20000 // connections from one local address
)

// runIdle opens o.idle connections and holds them for o.duration.
func runIdle(ctx context.Context, o *amqpOptions) (report, error) {
	before, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	conns, err := openIdle(ctx, o)
	defer func() {
		for _, c := range conns {
			c.nc.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	opened, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
	case <-time.After(o.duration):
	}
	after, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	grown := after.broker.RSS - before.broker.RSS
	return &idleResult{
		Connections: o.idle,
		OpenSeconds: opened.at.Sub(before.at).Seconds(),
		RSSBefore:   before.broker.RSS,
		RSSAfter:    after.broker.RSS,
		PerConn:     grown / int64(o.idle),
		OpenCPU:     float64((opened.broker.CPU - before.broker.CPU).Microseconds()) / float64(o.idle),
		Cost:        costBetween(opened, after, o.pids, 0, 0),
	}, nil
}

// openIdle opens the connections. On error it returns those that were open.
func openIdle(ctx context.Context, o *amqpOptions) ([]*conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]*conn, 0, o.idle)
	var mu sync.Mutex
	var dialers sync.WaitGroup
	next := make(chan int)
	for range min(idleDialers, o.idle) {
		dialers.Go(func() {
			for i := range next {
				c, err := dial(ctx, o, localAddress(o.host, i))
				if err != nil {
					cancel(err)
					continue
				}
				c.in = input{} // nothing will be read
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
			}
		})
	}
	for i := 0; i < o.idle && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	dialers.Wait()
	return conns, context.Cause(ctx)
}

// localAddress gives connection i to a loopback broker a source address of its
// own every 20,000, since one address has no more ports to offer.
func localAddress(host string, i int) net.Addr {
	name, _, err := net.SplitHostPort(host)
	if err != nil || i < portsPerLocal {
		return nil
	}
	if ip := net.ParseIP(name).To4(); ip == nil || !ip.IsLoopback() {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/portsPerLocal))}
}
