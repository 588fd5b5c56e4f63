package persistence

// ref says where an unflushed message is: a piece of a chunk of its memory
// table. It holds no pointer, so that the collector never looks into rings.
type ref struct {
	chunk, off, size uint32
	body             uint32 // bytes of the message's body
	expiry           int64
}

// chunk is the buffer of one committed entry, kept because messages in it are
// neither settled nor flushed.
type chunk struct {
	data []byte
	live int32
}

// memtable is one generation of unflushed messages.
type memtable struct {
	chunks []chunk
	lanes  []*lane // lanes that got a message in this generation
	pinned int64   // bytes of buffers in chunks, whole: one message keeps its entry
}

// addChunk returns the number of a new chunk. It stays at least until
// endChunk: the messages of an entry may be settled in the same entry.
func (m *memtable) addChunk(data []byte) uint32 {
	m.chunks = append(m.chunks, chunk{data: data, live: 1})
	m.pinned += int64(cap(data))
	return uint32(len(m.chunks) - 1)
}

// release takes one message off its chunk and lets the chunk go with the last.
func (m *memtable) release(r *ref) { m.endChunk(r.chunk) }

func (m *memtable) endChunk(number uint32) {
	c := &m.chunks[number]
	c.live--
	if c.live == 0 {
		m.pinned -= int64(cap(c.data))
		c.data = nil
	}
}

func (m *memtable) bytes(r *ref) []byte {
	return m.chunks[r.chunk].data[r.off : r.off+r.size : r.off+r.size]
}

// ring holds the refs of consecutive sequence numbers of a lane in one memory
// table, settled ones among them.
type ring struct {
	base  uint64 // sequence number of buf[head]
	buf   []ref
	head  int
	timed int64 // lowest expiry ever put in, 0 if none
}

func (r *ring) len() int         { return len(r.buf) - r.head }
func (r *ring) end() uint64      { return r.base + uint64(r.len()) }
func (r *ring) at(s uint64) *ref { return &r.buf[r.head+int(s-r.base)] }

func (r *ring) push(seq uint64, v ref) {
	if r.len() == 0 {
		r.base, r.head, r.buf = seq, 0, r.buf[:0]
	}
	if len(r.buf) == cap(r.buf) && r.head > len(r.buf)/2 {
		n := copy(r.buf, r.buf[r.head:])
		r.buf, r.head = r.buf[:n], 0
	}
	r.buf = append(r.buf, v)
	if v.expiry != 0 && (r.timed == 0 || v.expiry < r.timed) {
		r.timed = v.expiry
	}
}

// dropBelow forgets the refs below seq.
func (r *ring) dropBelow(seq uint64) {
	if seq <= r.base || r.len() == 0 {
		return
	}
	k := min(seq-r.base, uint64(r.len()))
	r.head += int(k)
	r.base += k
	if r.len() == 0 {
		r.buf, r.head, r.timed = r.buf[:0], 0, 0
		if cap(r.buf) > 4096 { // a deep lane that ran empty gives its memory back
			r.buf = nil
		}
	}
}
