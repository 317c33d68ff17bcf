package record

import (
	"crypto/tls"
	"strings"
)

// NewTLS makes tlsDetails of a connection; nil without TLS. host is the name
// that the client asked for.
func NewTLS(cs *tls.ConnectionState, host string) *TLS {
	if cs == nil {
		return nil
	}
	t := &TLS{Version: tlsVersion(cs.Version), CipherSuite: cipherSuite(cs.CipherSuite), Host: host}
	if cs.CurveID != 0 {
		t.KeyExchange = cs.CurveID.String()
	}
	return t
}

// tlsVersion spells versions as CloudTrail does: TLSv1.2, not "TLS 1.2".
func tlsVersion(v uint16) string {
	return strings.Replace(tls.VersionName(v), "TLS ", "TLSv", 1)
}

// cipherSuite spells suites as CloudTrail does: TLS 1.3 suites by their IANA
// name, older ones by OpenSSL's (ECDHE-RSA-AES128-GCM-SHA256).
func cipherSuite(id uint16) string {
	name := tls.CipherSuiteName(id)
	kx, rest, ok := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !ok {
		return name
	}
	rest = strings.NewReplacer("AES_128", "AES128", "AES_256", "AES256", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305").Replace(rest)
	return strings.ReplaceAll(kx+"-"+rest, "_", "-")
}
