package wire

// Connect is the CONNECT packet (section 3.1). Its slices alias the input.
type Connect struct {
	Version     Version
	CleanStart  bool
	KeepAlive   uint16 // seconds; 0: none
	ClientID    string
	Will        *Will
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
	Props       Properties
}

// Will is the message a server publishes for a client that went.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Props   Properties
}

const (
	connectReserved = 1 << iota
	connectClean
	connectWill
	connectWillQoS  // two bits
	_               //
	connectWillKeep // will retain
	connectPassword
	connectUsername
)

// DecodeConnect reads the body of a CONNECT. On an error the version is set as
// far as it is known: the answer depends on it.
func DecodeConnect(body []byte) (Connect, error) {
	var c Connect
	r := reader{b: body}
	name := string(r.binary())
	if r.err != nil || name != "MQTT" && name != "MQIsdp" {
		return c, ErrNotMQTT
	}
	c.Version = Version(r.byte())
	if r.err != nil {
		return c, r.err
	}
	// The high bit marks bridges, by mosquitto's habit, and means nothing here.
	if level := c.Version &^ 0x80; (level == V311 || level == V31) && c.Version != level {
		c.Version = level
	}
	if name == "MQTT" && c.Version != V311 && c.Version != V5 || name == "MQIsdp" && c.Version != V31 {
		return c, ErrVersion
	}
	flags := r.byte()
	c.KeepAlive = r.uint16()
	if err := checkConnectFlags(flags, c.Version); err != nil {
		return c, err
	}
	c.CleanStart = flags&connectClean != 0
	if c.Version == V5 {
		c.Props = r.properties(inConnect)
	}
	if id := r.binary(); r.err == nil {
		if !ValidText(id) {
			return c, &Error{ClientIDNotValid, "client identifier is not UTF-8"}
		}
		c.ClientID = string(id)
	}
	if flags&connectWill != 0 {
		c.will(&r, flags)
	}
	if flags&connectUsername != 0 {
		c.HasUsername, c.Username = true, string(r.text())
	}
	if flags&connectPassword != 0 {
		c.HasPassword, c.Password = true, r.binary()
	}
	if r.err == nil && c.Version == V5 {
		if _, data := c.Props.Find(AuthData); data {
			if _, method := c.Props.Find(AuthMethod); !method {
				return c, violated("authentication data without method")
			}
		}
	}
	return c, r.end()
}

func (c *Connect) will(r *reader, flags byte) {
	w := &Will{QoS: flags >> 3 & 3, Retain: flags&connectWillKeep != 0}
	if c.Version == V5 {
		w.Props = r.properties(inWill)
	}
	topic := r.text()
	if r.err == nil && !ValidTopicName(topic) {
		r.fail(errTopicLevels)
	}
	w.Topic, w.Payload = string(topic), r.binary()
	if v, ok := w.Props.Find(ResponseTopic); ok && !ValidTopicName(v.Data) {
		r.fail(violated("response topic with wildcards"))
	}
	c.Will = w
}

// checkConnectFlags implements [MQTT-3.1.2-3, -11 to -15, -22].
func checkConnectFlags(flags byte, v Version) error {
	will := flags&connectWill != 0
	switch {
	case flags&connectReserved != 0 && v != V31:
		return malformed("reserved connect flag")
	case flags>>3&3 == 3:
		return malformed("will QoS 3")
	case !will && flags&(3<<3|connectWillKeep) != 0:
		return malformed("will flags without a will")
	case v != V5 && flags&connectPassword != 0 && flags&connectUsername == 0:
		return malformed("password without user name")
	}
	return nil
}

// Append writes the packet.
func (c *Connect) Append(dst []byte) []byte {
	name, flags := "MQTT", byte(0)
	if c.Version == V31 {
		name = "MQIsdp"
	}
	n := 2 + len(name) + 4 + 2 + len(c.ClientID)
	if c.CleanStart {
		flags |= connectClean
	}
	if c.Version == V5 {
		n += blockSize(c.Props)
	}
	if w := c.Will; w != nil {
		flags |= connectWill | w.QoS<<3
		if w.Retain {
			flags |= connectWillKeep
		}
		if c.Version == V5 {
			n += blockSize(w.Props)
		}
		n += 4 + len(w.Topic) + len(w.Payload)
	}
	if c.HasUsername {
		flags |= connectUsername
		n += 2 + len(c.Username)
	}
	if c.HasPassword {
		flags |= connectPassword
		n += 2 + len(c.Password)
	}
	dst = appendHeader(dst, CONNECT, 0, n)
	dst = append(appendText(dst, name), byte(c.Version), flags)
	dst = appendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = appendBlock(dst, c.Props)
	}
	dst = appendText(dst, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			dst = appendBlock(dst, w.Props)
		}
		dst = appendText(appendText(dst, w.Topic), w.Payload)
	}
	if c.HasUsername {
		dst = appendText(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendText(dst, c.Password)
	}
	return dst
}

// Connack is the CONNACK packet (section 3.2). Reason is the return code of
// MQTT 3 where that is spoken.
type Connack struct {
	SessionPresent bool
	Reason         Reason
	Props          Properties
}

// DecodeConnack reads the body of a CONNACK.
func DecodeConnack(body []byte, v Version) (Connack, error) {
	r := reader{b: body}
	flags := r.byte()
	c := Connack{SessionPresent: flags&1 != 0, Reason: Reason(r.byte())}
	if v == V5 {
		c.Props = r.properties(inConnack)
	}
	if r.err == nil && flags > 1 {
		return c, malformed("reserved flags of CONNACK")
	}
	return c, r.end()
}

// Append writes the packet.
func (c *Connack) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += blockSize(c.Props)
	}
	dst = appendHeader(dst, CONNACK, 0, n)
	present := byte(0)
	if c.SessionPresent {
		present = 1
	}
	dst = append(dst, present, byte(c.Reason))
	if v == V5 {
		dst = appendBlock(dst, c.Props)
	}
	return dst
}
