package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// requestTimeout bounds an attempt: how long SNS waits for an endpoint (SNS
	// developer guide, "Amazon SNS message delivery retries").
	requestTimeout = 15 * time.Second
	maxAnswer      = 64 << 10 // bytes of an answer that are read
	maxSecretFile  = 64 << 10
)

// NewClient makes an HTTP client for one target. It checks certificates against
// those in caFile, or the system's when that is "", and follows no redirect:
// what is sent must reach whom the operator named, and nobody else.
func NewClient(caFile string) (*http.Client, error) {
	t := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
		},
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: requestTimeout, IdleConnTimeout: 90 * time.Second,
		MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", caFile)
		}
	}
	return &http.Client{Transport: t, Timeout: requestTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// StatusError is an answer that is no acknowledgement.
type StatusError struct {
	Status int
	Code   string // the error's name where the target gave one in AWS's way
}

func (e *StatusError) Error() string {
	text := "the answer is " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	if e.Code != "" {
		text += ", " + e.Code
	}
	return text
}

// Unwrap makes an error permanent after which it would be the same again: the
// endpoint is gone for good, or the message too large for it. Anything else, a
// refused password among them, the operator may put right in time.
func (e *StatusError) Unwrap() error {
	if e.Status == http.StatusGone || e.Status == http.StatusRequestEntityTooLarge {
		return ErrPermanent
	}
	return nil
}

// Do sends a request and reads the answer; any status but 2xx is a StatusError.
// No error shows the URL, which may hold a token.
func Do(ctx context.Context, c *http.Client, req *http.Request) ([]byte, error) {
	res, err := c.Do(req.WithContext(ctx))
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, fmt.Errorf("asking %s: %w", req.URL.Host, err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if cerr := res.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil && res.StatusCode/100 == 2 {
		// The status is the acknowledgement, but of an answer that ended early it
		// is not known to be the target's own.
		return nil, fmt.Errorf("reading the answer of %s: %w", req.URL.Host, err)
	}
	if res.StatusCode/100 != 2 {
		return body, &StatusError{Status: res.StatusCode}
	}
	return body, nil
}

// ReadSecret reads a secret from a file, without the line's end.
func ReadSecret(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return secret, nil
}

// Code is what of an error a caller of the API may see: no address, no path.
func Code(err error) string {
	var status *StatusError
	var op *net.OpError
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	var cert *tls.CertificateVerificationError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &status) && status.Code != "":
		return status.Code
	case errors.As(err, &status):
		return "HTTP " + strconv.Itoa(status.Status)
	case errors.Is(err, ErrNotDeclared):
		return "NotFound"
	case errors.Is(err, ErrNotConfirmed):
		return "SubscriptionNotConfirmed"
	case errors.Is(err, ErrDenied):
		return "AccessDenied"
	case errors.As(err, &cert):
		return "CertificateInvalid"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "RequestTimeout"
	case errors.As(err, &dns), errors.As(err, &op):
		return "EndpointUnreachable"
	}
	return "ServiceUnavailable"
}

var (
	// ErrNotDeclared says that the settings do not have what is sent to.
	ErrNotDeclared = errors.New("the settings file of --notifications does not declare it")
	// ErrDenied says that who sends may not do so now.
	ErrDenied = errors.New("access denied")
	// ErrNotConfirmed says that an endpoint has yet to confirm its subscription.
	ErrNotConfirmed = errors.New("the endpoint has not confirmed its subscription")
)
