// Package oidc verifies the tokens of OpenID Connect issuers. It is the
// authenticate step of sts:AssumeRoleWithWebIdentity: it knows issuers, keys and
// claims, and neither accounts nor roles.
//
// Which issuers are trusted is configuration. Their keys come from a file, for
// places without a network, or over HTTPS from where their discovery document
// points (OpenID Connect Discovery 1.0, section 4), and are kept for a while.
//
// Sources: OpenID Connect Core 1.0, section 2 and 3.1.3.7; RFC 7517 to 7519; IAM
// user guide, "Create an OpenID Connect (OIDC) identity provider in IAM".
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Limits on a token. AWS takes 20,000 characters (STS API reference,
// WebIdentityToken) and 100 audiences an issuer (IAM quotas).
const (
	MaxToken     = 20_000
	maxAudiences = 100
	maxIssuer    = 255 // characters of an issuer's URL (IAM API reference, Url)
	// skew is how far an issuer's clock may be ahead of this one.
	skew = 5 * time.Minute
)

// algorithms are those that IAM takes. None of them is symmetric: a public key
// must never serve as a secret.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

// Issuer is an issuer whose tokens are trusted.
type Issuer struct {
	URL       string   // as in the tokens' iss; https, without a trailing slash
	Audiences []string // a token must be for one of them
	// KeyFile is a JWK set. When it is empty, keys are fetched.
	KeyFile string
	// CAFile is a PEM file of the certificate authorities that the issuer's
	// server must be certified by, instead of the system's.
	CAFile string
}

// Name is the issuer's name in IAM's ARNs and condition keys: its URL without
// the scheme.
func (i *Issuer) Name() string { return strings.TrimPrefix(i.URL, "https://") }

// ParseIssuer reads an issuer's configuration: its URL, then words
// audience=NAME (once or more), jwks=FILE and ca=FILE.
func ParseIssuer(text string) (Issuer, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Issuer{}, errors.New("an issuer begins with its URL")
	}
	i := Issuer{URL: strings.TrimSuffix(words[0], "/")}
	u, err := url.Parse(i.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(i.URL) > maxIssuer {
		return Issuer{}, fmt.Errorf("the issuer %q is not an https URL without query and fragment", words[0])
	}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		switch {
		case v == "":
			return Issuer{}, fmt.Errorf("the issuer %s: %q is not audience=NAME, jwks=FILE or ca=FILE", i.URL, w)
		case k == "audience":
			i.Audiences = append(i.Audiences, v)
		case k == "jwks" && i.KeyFile == "":
			i.KeyFile = v
		case k == "ca" && i.CAFile == "":
			i.CAFile = v
		default:
			return Issuer{}, fmt.Errorf("the issuer %s: %q is unknown or repeated; it takes audience=NAME, jwks=FILE and ca=FILE", i.URL, w)
		}
	}
	if len(i.Audiences) == 0 || len(i.Audiences) > maxAudiences {
		return Issuer{}, fmt.Errorf("the issuer %s needs 1 to %d audience=NAME: a token for somebody else must not serve here", i.URL, maxAudiences)
	}
	return i, nil
}

// Reason is why a token was not accepted.
type Reason uint8

const (
	Malformed     Reason = iota // not a JWT
	UnknownIssuer               // no such issuer is configured
	WrongAudience               // for somebody else
	MissingClaim                // Detail names it
	Expired                     // its time is over
	NotYetValid                 // its time has not come
	BadSignature                // not signed by one of the issuer's keys
	Unreachable                 // the issuer's keys cannot be fetched
	BadClaim                    // Detail says which
	UnsupportedAlgorithm
)

// Error is a token that was not accepted. It holds nothing of the token but the
// issuer's name.
type Error struct {
	Reason Reason
	Detail string
	// Now and At are the present and the claim's time where that is the reason.
	Now, At time.Time
	Err     error
}

func (e *Error) Error() string {
	text := "oidc: " + [...]string{"the token is malformed", "unknown issuer", "wrong audience", "missing claim", "expired", "not yet valid",
		"the signature does not verify", "the issuer's keys cannot be fetched", "a claim is malformed", "the algorithm is not supported"}[e.Reason]
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Identity is what a token proves.
type Identity struct {
	Issuer  string // the issuer's Name
	Subject string
	// Audience is the audience that was accepted, Audiences are all of the
	// token's, or azp alone where it is set, as IAM's condition key has it.
	Audience  string
	Audiences []string
	Methods   []string // amr
	Expires   time.Time
	// Tags, TransitiveTagKeys and SourceIdentity are what the token asks for its
	// session (IAM user guide, "Passing session tags using
	// AssumeRoleWithWebIdentity" and "Monitor and control actions taken with
	// assumed roles").
	Tags              map[string]string
	TransitiveTagKeys []string
	SourceIdentity    string
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]*keys // by URL
	now     func() time.Time
}

// NewVerifier reads the key files. It fetches nothing yet.
func NewVerifier(issuers []Issuer, now func() time.Time) (*Verifier, error) {
	v := &Verifier{issuers: map[string]*keys{}, now: now}
	for _, i := range issuers {
		if v.issuers[i.URL] != nil {
			return nil, fmt.Errorf("the issuer %s is configured twice", i.URL)
		}
		k, err := newKeys(i, now)
		if err != nil {
			return nil, fmt.Errorf("the issuer %s: %w", i.URL, err)
		}
		v.issuers[i.URL] = k
	}
	return v, nil
}

// claims are those that are read. Others are ignored.
type claims struct {
	Issuer    string           `json:"iss"`
	Subject   string           `json:"sub"`
	Audience  jwt.Audience     `json:"aud"`
	Party     string           `json:"azp"`
	Methods   []string         `json:"amr"`
	Expiry    *jwt.NumericDate `json:"exp"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	// The nested form's values are lists of one text.
	Tags struct {
		Principal  map[string][]string `json:"principal_tags"`
		Transitive []string            `json:"transitive_tag_keys"`
	} `json:"https://aws.amazon.com/tags"`
	SourceIdentity string `json:"https://aws.amazon.com/source_identity"`
}

// Verify checks a token: first who it says it is from, then its signature, then
// all else. Nothing of a token without a valid signature is believed but the
// issuer's name, which only chooses the keys.
func (v *Verifier) Verify(ctx context.Context, token string) (*Identity, error) {
	if len(token) > MaxToken {
		return nil, &Error{Reason: Malformed}
	}
	t, err := jwt.ParseSigned(token, algorithms)
	var unexpected *jose.ErrUnexpectedSignatureAlgorithm
	if errors.As(err, &unexpected) {
		return nil, &Error{Reason: UnsupportedAlgorithm}
	}
	if err != nil || len(t.Headers) != 1 {
		return nil, &Error{Reason: Malformed}
	}
	var c claims
	if err := t.UnsafeClaimsWithoutVerification(&c); err != nil {
		return nil, &Error{Reason: Malformed}
	}
	k := v.issuers[strings.TrimSuffix(c.Issuer, "/")]
	if k == nil {
		return nil, &Error{Reason: UnknownIssuer, Detail: shown(c.Issuer)}
	}
	candidates, err := k.find(ctx, t.Headers[0].KeyID, jose.SignatureAlgorithm(t.Headers[0].Algorithm))
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(candidates, func(key any) bool { return t.Claims(key, &json.RawMessage{}) == nil }) {
		return nil, &Error{Reason: BadSignature}
	}
	return c.check(k.issuer, v.now())
}

// shown is a claim of a stranger in an error: short and printable.
func shown(s string) string {
	if len(s) > maxIssuer {
		s = s[:maxIssuer]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// check checks the claims of a token whose signature is valid.
func (c *claims) check(issuer Issuer, now time.Time) (*Identity, error) {
	switch {
	case c.Subject == "":
		return nil, &Error{Reason: MissingClaim, Detail: "sub"}
	case c.Expiry == nil:
		return nil, &Error{Reason: MissingClaim, Detail: "exp"}
	case c.IssuedAt == nil:
		return nil, &Error{Reason: MissingClaim, Detail: "iat"}
	case len(c.Audience) == 0:
		return nil, &Error{Reason: MissingClaim, Detail: "aud"}
	case !now.Before(c.Expiry.Time()):
		return nil, &Error{Reason: Expired, Now: now, At: c.Expiry.Time()}
	case c.NotBefore != nil && now.Add(skew).Before(c.NotBefore.Time()):
		return nil, &Error{Reason: NotYetValid, Now: now, At: c.NotBefore.Time()}
	case now.Add(skew).Before(c.IssuedAt.Time()):
		return nil, &Error{Reason: NotYetValid, Now: now, At: c.IssuedAt.Time()}
	case len(c.Subject) > maxIssuer:
		return nil, &Error{Reason: BadClaim, Detail: "sub"}
	}
	id := &Identity{Issuer: issuer.Name(), Subject: c.Subject, Audiences: c.Audience, Methods: c.Methods, Expires: c.Expiry.Time(),
		TransitiveTagKeys: c.Tags.Transitive, SourceIdentity: c.SourceIdentity}
	if c.Party != "" {
		// The party that the token was given to stands for its audiences.
		id.Audiences = []string{c.Party}
	}
	i := slices.IndexFunc(id.Audiences, func(a string) bool { return slices.Contains(issuer.Audiences, a) })
	if i < 0 {
		return nil, &Error{Reason: WrongAudience}
	}
	id.Audience = id.Audiences[i]
	for k, v := range c.Tags.Principal {
		if len(v) != 1 {
			return nil, &Error{Reason: BadClaim, Detail: "https://aws.amazon.com/tags"}
		}
		if id.Tags == nil {
			id.Tags = map[string]string{}
		}
		id.Tags[k] = v[0]
	}
	return id, nil
}
