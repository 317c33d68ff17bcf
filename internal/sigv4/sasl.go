package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/url"
	"strings"
	"time"
)

const (
	// maxSASL bounds a SASL response, in bytes; session tokens are the largest
	// part of it.
	maxSASL = 16 << 10
	// saslExpires is the X-Amz-Expires that clients sign, in seconds.
	saslExpires = "900"
	saslService = "cassandra"
)

// SASL is a parsed response of Keyspaces' SigV4 exchange:
// signature=…,access_key=…,amzdate=…[,session_token=…].
type SASL struct {
	AccessKeyID, SessionToken string
	signature, amzdate        string
	time                      time.Time
}

// ParseSASL reads a response. Its claim is unproven until Verify.
func ParseSASL(response []byte) (*SASL, error) {
	if len(response) > maxSASL {
		return nil, fail(Malformed, "the SASL response is too long")
	}
	s := &SASL{}
	for _, part := range strings.Split(string(response), ",") {
		k, v, ok := strings.Cut(part, "=")
		dst := map[string]*string{"signature": &s.signature, "access_key": &s.AccessKeyID, "amzdate": &s.amzdate, "session_token": &s.SessionToken}[k]
		if !ok || dst == nil || *dst != "" {
			return nil, fail(Malformed, "the SASL response has an unknown or repeated part")
		}
		*dst = v
	}
	if s.signature == "" || s.AccessKeyID == "" {
		return nil, fail(Malformed, "the SASL response lacks a part")
	}
	var err error
	if s.time, err = time.Parse("2006-01-02T15:04:05.000Z", s.amzdate); err != nil {
		return nil, fail(Malformed, "the SASL response's date is malformed")
	}
	return s, nil
}

// Verify checks the response against the nonce and the region that it must be
// signed for. secret is the access key's.
func (s *SASL) Verify(nonce, secret, region string, now time.Time, skew time.Duration) error {
	if d := now.Sub(s.time); d > skew || d < -skew {
		return &Error{Reason: Skewed, when: s.time, now: now, skew: skew}
	}
	date := s.time.Format(dateLayout)
	scope := date + "/" + region + "/" + saslService + "/aws4_request"
	nonceHash := sha256.Sum256([]byte(nonce))
	canonical := "PUT\n/authenticate\n" +
		"X-Amz-Algorithm=" + Algorithm +
		"&X-Amz-Credential=" + url.QueryEscape(s.AccessKeyID+"/"+scope) +
		"&X-Amz-Date=" + url.QueryEscape(s.amzdate) +
		"&X-Amz-Expires=" + saslExpires +
		"\nhost:" + saslService + "\n\nhost\n" + hex.EncodeToString(nonceHash[:])
	sum := sha256.Sum256([]byte(canonical))
	toSign := Algorithm + "\n" + s.amzdate + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	want := hex.EncodeToString(mac(signingKey(secret, date, region, saslService), toSign))
	if subtle.ConstantTimeCompare([]byte(want), []byte(s.signature)) != 1 {
		return fail(Mismatch, "")
	}
	return nil
}
