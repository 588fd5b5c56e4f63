package wire

import "fmt"

// Reason is a reason code of MQTT 5 (section 2.4).
type Reason byte

// The reason codes. Several share a value: the packet tells them apart.
const (
	Success                     Reason = 0x00
	GrantedQoS1                 Reason = 0x01
	GrantedQoS2                 Reason = 0x02
	DisconnectWithWill          Reason = 0x04
	NoMatchingSubscribers       Reason = 0x10
	NoSubscriptionExisted       Reason = 0x11
	ContinueAuthentication      Reason = 0x18
	ReAuthenticate              Reason = 0x19
	UnspecifiedError            Reason = 0x80
	MalformedPacket             Reason = 0x81
	ProtocolError               Reason = 0x82
	ImplementationSpecificError Reason = 0x83
	UnsupportedProtocolVersion  Reason = 0x84
	ClientIDNotValid            Reason = 0x85
	BadUserNameOrPassword       Reason = 0x86
	NotAuthorized               Reason = 0x87
	ServerUnavailable           Reason = 0x88
	ServerBusy                  Reason = 0x89
	Banned                      Reason = 0x8A
	ServerShuttingDown          Reason = 0x8B
	BadAuthenticationMethod     Reason = 0x8C
	KeepAliveTimeout            Reason = 0x8D
	SessionTakenOver            Reason = 0x8E
	TopicFilterInvalid          Reason = 0x8F
	TopicNameInvalid            Reason = 0x90
	PacketIDInUse               Reason = 0x91
	PacketIDNotFound            Reason = 0x92
	ReceiveMaximumExceeded      Reason = 0x93
	TopicAliasInvalid           Reason = 0x94
	PacketTooLarge              Reason = 0x95
	MessageRateTooHigh          Reason = 0x96
	QuotaExceeded               Reason = 0x97
	AdministrativeAction        Reason = 0x98
	PayloadFormatInvalid        Reason = 0x99
	RetainNotSupported          Reason = 0x9A
	QoSNotSupported             Reason = 0x9B
	UseAnotherServer            Reason = 0x9C
	ServerMoved                 Reason = 0x9D
	SharedNotSupported          Reason = 0x9E
	ConnectionRateExceeded      Reason = 0x9F
	MaximumConnectTime          Reason = 0xA0
	SubIDsNotSupported          Reason = 0xA1
	WildcardsNotSupported       Reason = 0xA2
)

// Return codes of CONNACK in MQTT 3.1 and 3.1.1, and the failure of SUBACK.
const (
	V3Accepted          = 0x00
	V3BadVersion        = 0x01
	V3IDRejected        = 0x02
	V3Unavailable       = 0x03
	V3BadCredentials    = 0x04
	V3NotAuthorized     = 0x05
	V3SubscribeFailure  = 0x80
	maxRemaining        = 268435455
	maxSubscriptionID   = 268435455
	maxStringLength     = 65535
	subscriptionQoSMask = 0x03
)

// Failed reports whether the code says that something was refused.
func (r Reason) Failed() bool { return r >= 0x80 }

// V3 is the CONNACK return code of MQTT 3 that comes closest.
func (r Reason) V3() byte {
	switch r {
	case Success:
		return V3Accepted
	case UnsupportedProtocolVersion:
		return V3BadVersion
	case ClientIDNotValid:
		return V3IDRejected
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return V3BadCredentials
	case NotAuthorized, Banned, TopicNameInvalid:
		return V3NotAuthorized
	}
	return V3Unavailable
}

// Error is a violation of the protocol together with the reason code that
// answers it.
type Error struct {
	Code Reason
	Text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("mqtt: %s (0x%02X)", e.Text, byte(e.Code)) }

func malformed(text string) *Error { return &Error{MalformedPacket, text} }
func violated(text string) *Error  { return &Error{ProtocolError, text} }

// Errors that callers tell apart.
var (
	ErrTooLarge    = &Error{PacketTooLarge, "packet too large"}
	ErrNotMQTT     = &Error{UnsupportedProtocolVersion, "unknown protocol name"}
	ErrVersion     = &Error{UnsupportedProtocolVersion, "unsupported protocol version"}
	errShort       = malformed("packet ends early")
	errTrailing    = malformed("bytes after the end of the packet")
	errVarint      = malformed("variable byte integer of more than four bytes")
	errText        = malformed("string is not UTF-8 without NUL")
	errFlags       = malformed("reserved flags of the fixed header")
	errPacketID    = violated("packet identifier 0")
	errReasonCode  = malformed("reason code does not belong to the packet")
	errNoVersion   = malformed("packet does not exist in this version")
	errNoFilters   = violated("no topic filter")
	errOptions     = malformed("reserved subscription options")
	errTopicLevels = &Error{TopicNameInvalid, "topic name with wildcards or empty"}
)
