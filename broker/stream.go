package broker

// stream is the part of a queue of kind stream: messages are kept by retention
// and read by position. Sequence numbers start at 1 and have no gaps; the
// offset clients see is the sequence number minus one.
type stream struct {
	q     *Queue
	first uint64 // oldest message kept; last+1 if there is none
	last  uint64 // newest message; 0 if there never was one
	bytes int64  // of bodies kept

	tail      entries // the newest messages, without gap up to last
	tailBytes int64

	chunks  []chunk // what is kept, in units of retention
	probing bool    // the age of chunks[0] is being read
}

// chunk is a run of messages that retention drops together.
type chunk struct {
	first  uint64
	last   uint64
	bytes  int64
	newest int64 // Received of its last message, Unix ms; 0: not known
}

// Sizes of a stream's parts.
const (
	tailBytesMax  = 1 << 20
	chunkCount    = 1000
	chunkBytes    = 1 << 20
	chunksAtStart = 64 // into which what was recovered is divided
	retainEvery   = 1000
)

func newStream(q *Queue) *stream { return &stream{q: q, first: 1} }

func (s *stream) recover(state LaneState) {
	if state.Next == 0 {
		return
	}
	s.first, s.last, s.bytes = state.First, state.Next-1, int64(state.Bytes)
	n := s.last + 1 - s.first
	if n == 0 {
		return
	}
	// How the bytes are spread is not known without reading: evenly will do.
	step := max(1, (n+chunksAtStart-1)/chunksAtStart)
	for from := s.first; from <= s.last; from += step {
		to := min(from+step-1, s.last)
		s.chunks = append(s.chunks, chunk{first: from, last: to, bytes: int64(state.Bytes / n * (to - from + 1))})
	}
	s.count()
}

// count keeps the queue's numbers in step.
func (s *stream) count() {
	s.q.ready = int(s.last + 1 - s.first)
	s.q.readyBytes = s.bytes
}

// append takes a committed message in.
func (s *stream) append(t *Turn, m *Message, seq uint64) {
	if seq == 0 {
		seq = s.last + 1
	}
	s.last = seq
	e := entry{msg: m, seq: seq}
	s.tail.pushBack(e)
	s.tailBytes += int64(e.memory())
	s.q.memory += int64(e.memory())
	for s.tailBytes > tailBytesMax && s.tail.len() > 1 {
		s.dropTail()
	}
	body := int64(len(m.Body))
	s.bytes += body
	n := len(s.chunks) - 1
	if n < 0 || s.chunks[n].last-s.chunks[n].first+1 >= chunkCount || s.chunks[n].bytes >= s.chunkSize() {
		s.chunks = append(s.chunks, chunk{first: seq})
		n++
	}
	c := &s.chunks[n]
	c.last, c.newest = seq, m.Received
	c.bytes += body
	s.retain(t)
	s.count()
	if s.q.cfg.MaxAge >= 0 {
		s.q.schedule(t.Now + retainEvery)
	}
	s.dispatch(t)
}

func (s *stream) dropTail() {
	e := s.tail.popFront()
	s.tailBytes -= int64(e.memory())
	s.q.memory -= int64(e.memory())
}

// chunkSize is the number of bytes from which a chunk is full: small limits
// need small chunks.
func (s *stream) chunkSize() int64 {
	if limit := s.q.cfg.MaxLengthBytes; limit >= 0 {
		return max(1, min(chunkBytes, limit/16))
	}
	return chunkBytes
}

// retain drops chunks that are too old or too many. The newest stays.
func (s *stream) retain(t *Turn) {
	cfg, before := &s.q.cfg, s.first
	for len(s.chunks) > 1 {
		c := &s.chunks[0]
		tooMany := cfg.MaxLengthBytes >= 0 && s.bytes > cfg.MaxLengthBytes
		tooOld := cfg.MaxAge >= 0 && c.newest != 0 && c.newest+cfg.MaxAge < t.Now
		if !tooMany && !tooOld {
			break
		}
		s.bytes -= c.bytes
		s.chunks = s.chunks[1:]
		s.first = s.chunks[0].first
	}
	if s.first == before {
		return
	}
	for s.tail.len() > 0 && s.tail.at(0).seq < s.first {
		s.dropTail()
	}
	if s.q.durable {
		s.q.out.Trims = append(s.q.out.Trims, StoreTrim{Lane: s.q.base, Before: s.first})
	}
	s.count()
}

// tick applies retention by age and asks to be called again.
func (s *stream) tick(t *Turn) {
	if s.q.cfg.MaxAge < 0 {
		return
	}
	s.retain(t)
	if len(s.chunks) > 1 && s.chunks[0].newest == 0 && !s.probing {
		s.probe()
	}
	if len(s.chunks) > 1 {
		s.q.schedule(t.Now + retainEvery)
	}
}

// probe reads the age of the oldest chunk, which a restart forgot.
func (s *stream) probe() {
	s.probing = true
	at := s.chunks[0].last
	s.read(at, at, 1, func(t *Turn, msgs []Stored, _ uint64) {
		s.probing = false
		if len(s.chunks) == 0 || s.chunks[0].last != at || len(msgs) == 0 {
			return
		}
		s.chunks[0].newest = max(msgs[0].Msg.Received, 1)
		s.q.schedule(t.Now)
	})
}

// read asks the store for messages; then runs under the queue's lock unless
// the queue is gone by then; next is where the following read begins.
func (s *stream) read(from, to uint64, count int, then func(t *Turn, msgs []Stored, next uint64)) {
	q := s.q
	q.reads = append(q.reads, &ReadRequest{
		Lane: q.base, From: from, To: to, Max: count, MaxBytes: q.eng.load,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) {
			q.mu.Lock()
			if q.closed {
				q.mu.Unlock()
				return
			}
			if err != nil {
				q.readFailed(t, q.base, from, min(next, to+1), err)
			}
			then(t, msgs, min(next, to+1))
			q.leave(t)
		},
	})
}
