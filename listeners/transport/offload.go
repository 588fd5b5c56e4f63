package transport

import "sync"

// pool runs blocking work on a bounded number of goroutines with a bounded queue. Goroutines exist only while there is
// work.
type pool struct {
	mu      sync.Mutex
	queue   []func()
	running int
	workers int
	depth   int
	closed  bool
}

// submit reports false if the queue is full or the pool closed. f must not panic.
func (p *pool) submit(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return false
	case p.running < p.workers:
		p.running++
		go p.work(f)
		return true
	case len(p.queue) < p.depth:
		p.queue = append(p.queue, f)
		return true
	}
	return false
}

func (p *pool) work(f func()) {
	for f != nil {
		f()
		f = p.next()
	}
}

func (p *pool) next() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		p.queue = nil
		p.running--
		return nil
	}
	f := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	return f
}

// close drops what waits; what runs goes on and finds its connection closed.
func (p *pool) close() {
	p.mu.Lock()
	p.closed, p.queue = true, nil
	p.mu.Unlock()
}
