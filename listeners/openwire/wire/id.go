package wire

import "strconv"

// Destination is a queue or topic, temporary or not. It is comparable; its
// zero value is null.
type Destination struct {
	Kind Type // TypeQueue to TypeTempTopic; TypeNull for null
	Name string

	flags uint8 // 2: the name is present and empty
}

// Type implements Structure.
func (d Destination) Type() Type { return d.Kind }

// IsNull reports whether there is no destination.
func (d Destination) IsNull() bool { return d.Kind == TypeNull }

// IsTopic reports whether d is a topic, temporary or not.
func (d Destination) IsTopic() bool { return d.Kind == TypeTopic || d.Kind == TypeTempTopic }

// IsTemp reports whether d is temporary.
func (d Destination) IsTemp() bool { return d.Kind == TypeTempQueue || d.Kind == TypeTempTopic }

// String is the address as ActiveMQ's users know it, such as queue://A.B.
func (d Destination) String() string {
	switch d.Kind {
	case TypeQueue:
		return "queue://" + d.Name
	case TypeTopic:
		return "topic://" + d.Name
	case TypeTempQueue:
		return "temp-queue://" + d.Name
	case TypeTempTopic:
		return "temp-topic://" + d.Name
	}
	return ""
}

func (d Destination) append(a *appender) { a.str(d.Name, d.flags&2 != 0) }

func (d Destination) appendNested(a *appender) {
	if d.IsNull() {
		a.bool(false)
		return
	}
	a.open(d.Kind)
	d.append(a)
}

func (r *reader) fieldsDestination(t Type) (d Destination) {
	d.Kind = t
	d.Name = r.name(&d.flags, 2)
	return d
}

func (r *reader) nestedDestination() (d Destination) {
	if !r.bool() {
		return d
	}
	t := Type(r.uint8())
	if !t.IsDestination() {
		r.fail(ErrWrongType)
		return d
	}
	return r.fieldsDestination(t)
}

// TransactionID names a local or an XA transaction. It is comparable; its zero
// value is null.
type TransactionID struct {
	Kind Type // TypeLocalTransactionID, TypeXATransactionID; TypeNull for null

	Value        int64        // local
	ConnectionID ConnectionID // local

	FormatID        int32  // XA
	GlobalID        string // XA; bytes
	BranchQualifier string // XA; bytes

	flags uint8 // 2: GlobalID, 4: BranchQualifier is present and empty
}

// Type implements Structure.
func (t TransactionID) Type() Type { return t.Kind }

// IsNull reports whether there is no transaction.
func (t TransactionID) IsNull() bool { return t.Kind == TypeNull }

// IsXA reports whether t is a branch of a distributed transaction.
func (t TransactionID) IsXA() bool { return t.Kind == TypeXATransactionID }

// String is the form in which ActiveMQ shows transactions.
func (t TransactionID) String() string {
	switch t.Kind {
	case TypeLocalTransactionID:
		return "TX:" + t.ConnectionID.Value + ":" + strconv.FormatInt(t.Value, 10)
	case TypeXATransactionID:
		const hex = "0123456789abcdef"
		b := []byte("XID:[" + strconv.Itoa(int(t.FormatID)) + ",globalId=")
		for i := range len(t.GlobalID) {
			b = append(b, hex[t.GlobalID[i]>>4], hex[t.GlobalID[i]&15])
		}
		b = append(b, ",branchId="...)
		for i := range len(t.BranchQualifier) {
			b = append(b, hex[t.BranchQualifier[i]>>4], hex[t.BranchQualifier[i]&15])
		}
		return string(append(b, ']'))
	}
	return ""
}

func (t TransactionID) append(a *appender) {
	if t.Kind == TypeLocalTransactionID {
		a.long(t.Value)
		t.ConnectionID.appendNested(a)
		return
	}
	a.int(t.FormatID)
	a.byteString(t.GlobalID, t.flags&2 != 0)
	a.byteString(t.BranchQualifier, t.flags&4 != 0)
}

func (t TransactionID) appendNested(a *appender) {
	if t.IsNull() {
		a.bool(false)
		return
	}
	a.open(t.Kind)
	t.append(a)
}

func (r *reader) fieldsTransactionID(kind Type) (t TransactionID) {
	t.Kind = kind
	if kind == TypeLocalTransactionID {
		t.Value = r.long()
		t.ConnectionID = r.nestedConnectionID()
		return t
	}
	t.FormatID = r.int()
	t.GlobalID = r.byteString(&t.flags, 2)
	t.BranchQualifier = r.byteString(&t.flags, 4)
	return t
}

func (r *reader) nestedTransactionID() (t TransactionID) {
	if !r.bool() {
		return t
	}
	kind := Type(r.uint8())
	if kind != TypeLocalTransactionID && kind != TypeXATransactionID {
		r.fail(ErrWrongType)
		return t
	}
	return r.fieldsTransactionID(kind)
}

// String is the id as ActiveMQ shows it.
func (s ConnectionID) String() string { return s.Value }

// String is the id as ActiveMQ shows it.
func (s SessionID) String() string { return s.ConnectionID + ":" + strconv.FormatInt(s.Value, 10) }

// String is the id as ActiveMQ shows it.
func (s ConsumerID) String() string {
	return s.ConnectionID + ":" + strconv.FormatInt(s.SessionID, 10) + ":" + strconv.FormatInt(s.Value, 10)
}

// Session is the session the consumer belongs to.
func (s ConsumerID) Session() SessionID {
	return SessionID{ConnectionID: s.ConnectionID, Value: s.SessionID}
}

// String is the id as ActiveMQ shows it.
func (s ProducerID) String() string {
	return s.ConnectionID + ":" + strconv.FormatInt(s.SessionID, 10) + ":" + strconv.FormatInt(s.Value, 10)
}

// Session is the session the producer belongs to.
func (s ProducerID) Session() SessionID {
	return SessionID{ConnectionID: s.ConnectionID, Value: s.SessionID}
}

// String is the JMSMessageID.
func (s MessageID) String() string {
	if s.TextView != "" {
		if len(s.TextView) >= 3 && s.TextView[:3] == "ID:" {
			return s.TextView
		}
		return "ID:" + s.TextView
	}
	return s.ProducerID.String() + ":" + strconv.FormatInt(s.ProducerSequenceID, 10)
}

// MessageKey is what makes messages of a broker different from each other: a
// MessageID without what the broker adds.
type MessageKey struct {
	ProducerID         ProducerID
	ProducerSequenceID int64
}

// Key is the part of the id that is equal wherever the message goes.
func (s MessageID) Key() MessageKey { return MessageKey{s.ProducerID, s.ProducerSequenceID} }
