package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits on keys.
const (
	maxDocument  = 256 << 10 // bytes of a discovery document or a JWK set
	maxKeys      = 100       // of an issuer (IAM user guide: up to 100 RSA and 100 EC keys)
	minRSABits   = 2048
	fetchTimeout = 5 * time.Second
	maxRedirects = 3
	// keepKeys is how long fetched keys serve without a look at the issuer, and
	// keepStale how long they still do when it does not answer.
	keepKeys  = time.Hour
	keepStale = 24 * time.Hour
	// fetchAgain is how soon a key that is not known, or a failure, makes the
	// keys be fetched again: strangers choose the key's name, and must not make
	// this server call the issuer at their pace.
	fetchAgain = time.Minute
)

// keys are an issuer's.
type keys struct {
	issuer Issuer
	now    func() time.Time
	client *http.Client // nil when the keys are a file's

	// mu is held while fetching, so that all who wait share one fetch.
	mu      sync.Mutex
	set     []jose.JSONWebKey
	fetched time.Time // of set
	tried   time.Time // the last fetch, whatever came of it
	failure error     // of the last fetch
}

func newKeys(i Issuer, now func() time.Time) (*keys, error) {
	k := &keys{issuer: i, now: now}
	if i.KeyFile != "" {
		raw, err := os.ReadFile(i.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading its keys: %w", err)
		}
		k.set, err = parseKeys(raw)
		return k, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if i.CAFile != "" {
		pem, err := os.ReadFile(i.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading its certificate authority: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", i.CAFile)
		}
	}
	k.client = &http.Client{Timeout: fetchTimeout,
		Transport: &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
			TLSHandshakeTimeout: fetchTimeout, ResponseHeaderTimeout: fetchTimeout, MaxResponseHeaderBytes: 32 << 10},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects || r.URL.Scheme != "https" {
				return errors.New("the issuer redirects too often or away from https")
			}
			return nil
		}}
	return k, nil
}

// parseKeys reads a JWK set: the public keys in it that may verify signatures.
func parseKeys(raw []byte) ([]jose.JSONWebKey, error) {
	if len(raw) > maxDocument {
		return nil, fmt.Errorf("the key set has more than %d bytes", maxDocument)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("the key set is not JSON: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var out []jose.JSONWebKey
	for _, k := range set.Keys {
		var key jose.JSONWebKey
		// Keys of kinds that are not known may stand beside those that are (RFC
		// 7517, section 5).
		if err := key.UnmarshalJSON(k); err != nil || !key.Valid() || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch pub := key.Key.(type) {
		case *rsa.PublicKey:
			if pub.N.BitLen() < minRSABits {
				continue
			}
		case *ecdsa.PublicKey:
		default:
			continue // private, symmetric or of another kind
		}
		out = append(out, key)
	}
	if len(out) == 0 {
		return nil, errors.New("the key set holds no RSA or EC public key for signatures")
	}
	return out, nil
}

// find returns the keys that a token with this key id and algorithm may be
// signed with.
func (k *keys) find(ctx context.Context, id string, alg jose.SignatureAlgorithm) ([]any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if k.client == nil {
		return k.choose(id, alg), nil
	}
	found := k.choose(id, alg)
	old := k.fetched.IsZero() || now.Sub(k.fetched) > keepKeys
	if (old || len(found) == 0) && (k.tried.IsZero() || now.Sub(k.tried) >= fetchAgain) {
		k.fetch(ctx, now)
		found = k.choose(id, alg)
	}
	if k.failure != nil && (k.fetched.IsZero() || now.Sub(k.fetched) > keepStale) {
		return nil, &Error{Reason: Unreachable, Detail: k.issuer.Name(), Err: k.failure}
	}
	return found, nil
}

func (k *keys) choose(id string, alg jose.SignatureAlgorithm) []any {
	var out []any
	for i := range k.set {
		key := &k.set[i]
		_, isRSA := key.Key.(*rsa.PublicKey)
		if id != "" && key.KeyID != id || key.Algorithm != "" && key.Algorithm != string(alg) || isRSA != strings.HasPrefix(string(alg), "RS") {
			continue
		}
		out = append(out, key.Key)
	}
	return out
}

// fetch replaces the keys by the issuer's present ones; without an answer they
// stay. It does not depend on the caller, who may hang up: others wait for it.
func (k *keys) fetch(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	k.tried = now
	set, err := k.download(ctx)
	if k.failure = err; err == nil {
		k.set, k.fetched = set, now
	}
}

func (k *keys) download(ctx context.Context) ([]jose.JSONWebKey, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	raw, err := k.get(ctx, k.issuer.URL+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("the discovery document is not JSON: %w", err)
	}
	if strings.TrimSuffix(doc.Issuer, "/") != k.issuer.URL {
		return nil, errors.New("the discovery document is of another issuer")
	}
	if u, err := url.Parse(doc.Keys); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the discovery document's jwks_uri is not an https URL")
	}
	if raw, err = k.get(ctx, doc.Keys); err != nil {
		return nil, err
	}
	return parseKeys(raw)
}

func (k *keys) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", url, err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching an issuer's keys: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching %s: the answer is %s", url, res.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", url, err)
	}
	if len(raw) > maxDocument {
		return nil, fmt.Errorf("fetching %s: the answer has more than %d bytes", url, maxDocument)
	}
	return raw, nil
}
