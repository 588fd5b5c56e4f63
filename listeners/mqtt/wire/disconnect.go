package wire

// Disconnect is the DISCONNECT packet (section 3.14).
type Disconnect struct {
	Reason Reason
	Props  Properties
}

// DecodeDisconnect reads the body of a DISCONNECT.
func DecodeDisconnect(body []byte, v Version) (Disconnect, error) {
	var d Disconnect
	r := reader{b: body}
	if v == V5 && len(r.b) > 0 {
		d.Reason = Reason(r.byte())
		if len(r.b) > 0 {
			d.Props = r.properties(inDisconnect)
		}
		if r.err == nil && !d.known() {
			return d, errReasonCode
		}
	}
	return d, r.end()
}

func (d *Disconnect) known() bool {
	switch r := d.Reason; r {
	case Success, DisconnectWithWill, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		NotAuthorized, ServerBusy, ServerShuttingDown:
		return true
	default:
		return r >= KeepAliveTimeout && r <= WildcardsNotSupported && r != PacketIDInUse && r != PacketIDNotFound
	}
}

// Append writes the packet in its shortest form.
func (d *Disconnect) Append(dst []byte, v Version) []byte {
	switch {
	case v != V5 || d.Reason == Success && len(d.Props) == 0:
		return append(dst, byte(DISCONNECT)<<4, 0)
	case len(d.Props) == 0:
		return append(dst, byte(DISCONNECT)<<4, 1, byte(d.Reason))
	}
	dst = appendHeader(dst, DISCONNECT, 0, 1+blockSize(d.Props))
	return appendBlock(append(dst, byte(d.Reason)), d.Props)
}

// Auth is the AUTH packet (section 3.15).
type Auth struct {
	Reason Reason
	Props  Properties
}

// DecodeAuth reads the body of an AUTH.
func DecodeAuth(body []byte, v Version) (Auth, error) {
	var a Auth
	if v != V5 {
		return a, errNoVersion
	}
	r := reader{b: body}
	if len(r.b) > 0 {
		a.Reason = Reason(r.byte())
		a.Props = r.properties(inAuth)
	}
	if r.err == nil && a.Reason != Success && a.Reason != ContinueAuthentication && a.Reason != ReAuthenticate {
		return a, errReasonCode
	}
	return a, r.end()
}

// Append writes the packet in its shortest form.
func (a *Auth) Append(dst []byte) []byte {
	if a.Reason == Success && len(a.Props) == 0 {
		return append(dst, byte(AUTH)<<4, 0)
	}
	dst = appendHeader(dst, AUTH, 0, 1+blockSize(a.Props))
	return appendBlock(append(dst, byte(a.Reason)), a.Props)
}
