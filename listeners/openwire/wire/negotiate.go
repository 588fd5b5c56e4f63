package wire

import "math"

// Options is what WireFormatInfo says of a peer and what two of them agree on.
type Options struct {
	Version      int32
	MaxFrameSize int64 // bytes; 0 = not set

	StackTrace         bool
	Cache              bool
	CacheSize          int32
	TightEncoding      bool
	SizePrefixDisabled bool
	TCPNoDelay         bool

	MaxInactivity             int64 // ms without a byte after which a peer is dead; 0 = for ever
	MaxInactivityInitialDelay int64 // ms

	Host            string // of the client only: the name it dialled
	ProviderName    string
	ProviderVersion string
	Platform        string
}

// Info makes the frame that offers o.
func (o *Options) Info() *WireFormatInfo {
	m := Map{
		{"StackTraceEnabled", o.StackTrace},
		{"TcpNoDelayEnabled", o.TCPNoDelay},
		{"CacheEnabled", o.Cache},
		{"CacheSize", o.CacheSize},
		{"TightEncodingEnabled", o.TightEncoding},
		{"SizePrefixDisabled", o.SizePrefixDisabled},
		{"MaxInactivityDuration", o.MaxInactivity},
		{"MaxInactivityDurationInitalDelay", o.MaxInactivityInitialDelay}, // spelt so on the wire
	}
	if o.MaxFrameSize > 0 {
		m = append(m, Entry{"MaxFrameSize", o.MaxFrameSize}, Entry{"MaxFrameSizeEnabled", true})
	}
	for _, e := range []struct{ name, value string }{
		{"Host", o.Host}, {"ProviderName", o.ProviderName}, {"ProviderVersion", o.ProviderVersion}, {"PlatformDetails", o.Platform},
	} {
		if e.value != "" {
			m = append(m, Entry{e.name, e.value})
		}
	}
	return &WireFormatInfo{Magic: magic, Version: o.Version, Properties: AppendMap(nil, m)}
}

// maxOptions bounds the properties of WireFormatInfo in bytes. Stock clients
// send fewer than 400.
const maxOptions = 16 << 10

// Options reads what a peer offers. Properties of other types than expected
// are as if absent.
func (s *WireFormatInfo) Options() (Options, error) {
	o := Options{Version: s.Version}
	if s.Magic != magic {
		return o, ErrMagic
	}
	if len(s.Properties) > maxOptions {
		return o, ErrFrameTooLarge
	}
	m, err := ParseMap(s.Properties)
	if err != nil {
		return o, err
	}
	for _, e := range m {
		switch e.Name {
		case "StackTraceEnabled":
			o.StackTrace, _ = e.Value.(bool)
		case "TcpNoDelayEnabled":
			o.TCPNoDelay, _ = e.Value.(bool)
		case "CacheEnabled":
			o.Cache, _ = e.Value.(bool)
		case "CacheSize":
			o.CacheSize = int32(min(max(integer(e.Value), 0), math.MaxInt16))
		case "TightEncodingEnabled":
			o.TightEncoding, _ = e.Value.(bool)
		case "SizePrefixDisabled":
			o.SizePrefixDisabled, _ = e.Value.(bool)
		case "MaxInactivityDuration":
			o.MaxInactivity = max(integer(e.Value), 0)
		case "MaxInactivityDurationInitalDelay":
			o.MaxInactivityInitialDelay = max(integer(e.Value), 0)
		case "MaxFrameSize":
			o.MaxFrameSize = max(integer(e.Value), 0)
		case "Host":
			o.Host, _ = e.Value.(string)
		case "ProviderName":
			o.ProviderName, _ = e.Value.(string)
		case "ProviderVersion":
			o.ProviderVersion, _ = e.Value.(string)
		case "PlatformDetails":
			o.Platform, _ = e.Value.(string)
		}
	}
	return o, nil
}

func integer(v Primitive) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case int32:
		return int64(v)
	case int16:
		return int64(v)
	case int8:
		return int64(v)
	}
	return 0
}

// Negotiate is what two peers agree on; both come to the same result. Host and
// provider are the peer's.
func Negotiate(ours, peers Options) (Options, error) {
	o := peers
	o.Version = lesser(ours.Version, peers.Version)
	if o.Version < 1 {
		return o, ErrVersion
	}
	o.MaxFrameSize = lesser(ours.MaxFrameSize, peers.MaxFrameSize)
	o.StackTrace = ours.StackTrace && peers.StackTrace
	o.Cache = ours.Cache && peers.Cache
	o.CacheSize = min(ours.CacheSize, peers.CacheSize)
	o.TightEncoding = ours.TightEncoding && peers.TightEncoding
	o.SizePrefixDisabled = ours.SizePrefixDisabled && peers.SizePrefixDisabled
	o.TCPNoDelay = ours.TCPNoDelay && peers.TCPNoDelay
	o.MaxInactivity = min(ours.MaxInactivity, peers.MaxInactivity)
	o.MaxInactivityInitialDelay = min(ours.MaxInactivityInitialDelay, peers.MaxInactivityInitialDelay)
	return o, nil
}

// lesser is the lesser of two values of which those below 1 are not set.
func lesser[T int32 | int64](a, b T) T {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// Format is the form of frames after the negotiation.
func (o *Options) Format() Format {
	return Format{Version: min(o.Version, MaxVersion), StackTrace: o.StackTrace}
}
