package broker

// entries is a double-ended queue of entries in one growing ring.
type entries struct {
	ring []entry // length is a power of two, or zero
	head int
	n    int
}

func (d *entries) len() int { return d.n }

func (d *entries) at(i int) *entry { return &d.ring[(d.head+i)&(len(d.ring)-1)] }

func (d *entries) pushBack(e entry) {
	d.grow()
	d.n++
	*d.at(d.n - 1) = e
}

func (d *entries) pushFront(e entry) {
	d.grow()
	d.head = (d.head - 1) & (len(d.ring) - 1)
	d.n++
	*d.at(0) = e
}

func (d *entries) popFront() entry {
	p := d.at(0)
	e := *p
	p.msg, p.thin = nil, false
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
	if len(d.ring) > 1024 && d.n < len(d.ring)/8 {
		d.resize(len(d.ring) / 4)
	}
	return e
}

func (d *entries) grow() {
	if d.n == len(d.ring) {
		d.resize(max(8, 2*len(d.ring)))
	}
}

func (d *entries) resize(size int) {
	ring := make([]entry, size)
	for i := range d.n {
		ring[i] = *d.at(i)
	}
	d.ring, d.head = ring, 0
}
