package config

import (
	"fmt"
	"net/netip"
)

// TrustedProxies are the networks whose connections may begin with a PROXY
// header, where a listener demands one; none: all.
func (l *Listeners) TrustedProxies() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range l.ProxyTrusted {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return nil, fmt.Errorf("listeners.proxy_trusted: %q is neither a network (10.0.0.0/8) nor an address", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p)
	}
	return list, nil
}

func (c *Config) proxyChecks() []check {
	if _, err := c.Listeners.TrustedProxies(); err != nil {
		return []check{{true, err.Error()}}
	}
	return nil
}
