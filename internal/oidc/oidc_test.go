package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var (
	makeKeys sync.Once
	rsaKey   *rsa.PrivateKey
	weakKey  *rsa.PrivateKey
	ecKey    *ecdsa.PrivateKey
)

func testKeys(t testing.TB) (*rsa.PrivateKey, *ecdsa.PrivateKey) {
	t.Helper()
	makeKeys.Do(func() {
		var err [3]error
		rsaKey, err[0] = rsa.GenerateKey(rand.Reader, 2048)
		weakKey, err[1] = rsa.GenerateKey(rand.Reader, 1024)
		ecKey, err[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if e := errors.Join(err[:]...); e != nil {
			t.Fatal(e)
		}
	})
	return rsaKey, ecKey
}

// sign makes a token.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, id string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	j, err := s.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	out, err := j.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func set(keys ...jose.JSONWebKey) []byte {
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		panic(err)
	}
	return raw
}

func public(id string, key crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: id}
}

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func at(d time.Duration) int64 { return epoch.Add(d).Unix() }

// good are the claims of a token that is accepted.
func good(with ...any) map[string]any {
	c := map[string]any{"iss": "https://issuer.example.com/path", "sub": "repo:org/app", "aud": "sts.amazonaws.com",
		"exp": at(time.Hour), "iat": at(0)}
	for i := 0; i < len(with); i += 2 {
		if with[i+1] == nil {
			delete(c, with[i].(string))
		} else {
			c[with[i].(string)] = with[i+1]
		}
	}
	return c
}

// fileVerifier trusts one issuer by a key file.
func fileVerifier(t testing.TB, keys ...jose.JSONWebKey) *Verifier {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, set(keys...), 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := ParseIssuer("https://issuer.example.com/path/ audience=other audience=sts.amazonaws.com jwks=" + file)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier([]Issuer{i}, func() time.Time { return epoch })
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func reasonOf(t *testing.T, err error) Reason {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v, want an *Error", err)
	}
	return e.Reason
}

func TestVerify(t *testing.T) {
	t.Parallel()
	r, e := testKeys(t)
	v := fileVerifier(t, public("r1", r), public("e1", e))
	for _, tt := range []struct {
		name, token string
	}{
		{"RS256", sign(t, jose.RS256, r, "r1", good())},
		{"RS512", sign(t, jose.RS512, r, "r1", good())},
		{"ES256", sign(t, jose.ES256, e, "e1", good())},
		{"no key id", sign(t, jose.ES256, e, "", good())},
		{"several audiences", sign(t, jose.RS256, r, "r1", good("aud", []string{"a", "sts.amazonaws.com"}))},
		{"party", sign(t, jose.RS256, r, "r1", good("aud", "api", "azp", "sts.amazonaws.com"))},
		{"issuer with a slash", sign(t, jose.RS256, r, "r1", good("iss", "https://issuer.example.com/path/"))},
		{"the issuer's clock is ahead", sign(t, jose.RS256, r, "r1", good("iat", at(skew-time.Second), "nbf", at(skew-time.Second)))},
	} {
		id, err := v.Verify(t.Context(), tt.token)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if id.Issuer != "issuer.example.com/path" || id.Subject != "repo:org/app" || id.Audience != "sts.amazonaws.com" {
			t.Errorf("%s: the identity is %+v", tt.name, id)
		}
	}
}

func TestSessionClaims(t *testing.T) {
	t.Parallel()
	r, _ := testKeys(t)
	v := fileVerifier(t, public("r1", r))
	id, err := v.Verify(t.Context(), sign(t, jose.RS256, r, "r1", good("amr", []string{"mfa"}, "https://aws.amazon.com/source_identity", "alice",
		"https://aws.amazon.com/tags", map[string]any{"principal_tags": map[string][]string{"team": {"red"}}, "transitive_tag_keys": []string{"team"}})))
	if err != nil {
		t.Fatal(err)
	}
	if id.SourceIdentity != "alice" || id.Tags["team"] != "red" || len(id.TransitiveTagKeys) != 1 || id.Methods[0] != "mfa" {
		t.Errorf("the identity is %+v", id)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r, e := testKeys(t)
	v := fileVerifier(t, public("r1", r), public("e1", e), public("weak", weakKey))
	pub, err := json.Marshal(jose.JSONWebKey{Key: r.Public()})
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, jose.RS256, r, "r1", good())
	part := strings.Split(token, ".")
	enc := base64.RawURLEncoding.EncodeToString
	forged := enc([]byte(`{"iss":"https://issuer.example.com/path","sub":"admin","aud":"sts.amazonaws.com","exp":99999999999,"iat":1}`))
	for _, tt := range []struct {
		name, token string
		want        Reason
	}{
		{"empty", "", Malformed},
		{"no JWT", "Atza|IQEBLjAsAhRmHjNgHpi0U", Malformed},
		{"two parts", part[0] + "." + part[1], Malformed},
		{"too long", token + strings.Repeat("A", MaxToken), Malformed},
		{"none", enc([]byte(`{"alg":"none"}`)) + "." + part[1] + ".", UnsupportedAlgorithm},
		{"the public key as a secret", sign(t, jose.HS256, pub, "r1", good()), UnsupportedAlgorithm},
		{"PS256", sign(t, jose.PS256, r, "r1", good()), UnsupportedAlgorithm},
		{"another content", part[0] + "." + forged + "." + part[2], BadSignature},
		{"another key", sign(t, jose.ES256, other, "e1", good()), BadSignature},
		{"a key that is not known", sign(t, jose.RS256, r, "r2", good()), BadSignature},
		{"a key of another kind", sign(t, jose.ES256, e, "r1", good()), BadSignature},
		{"a weak key", sign(t, jose.RS256, weakKey, "weak", good()), BadSignature},
		{"another issuer", sign(t, jose.RS256, r, "r1", good("iss", "https://issuer.example.com")), UnknownIssuer},
		{"no issuer", sign(t, jose.RS256, r, "r1", good("iss", nil)), UnknownIssuer},
		{"for somebody else", sign(t, jose.RS256, r, "r1", good("aud", "somebody")), WrongAudience},
		{"given to somebody else", sign(t, jose.RS256, r, "r1", good("azp", "somebody")), WrongAudience},
		{"no audience", sign(t, jose.RS256, r, "r1", good("aud", nil)), MissingClaim},
		{"no subject", sign(t, jose.RS256, r, "r1", good("sub", nil)), MissingClaim},
		{"no end", sign(t, jose.RS256, r, "r1", good("exp", nil)), MissingClaim},
		{"no beginning", sign(t, jose.RS256, r, "r1", good("iat", nil)), MissingClaim},
		{"over", sign(t, jose.RS256, r, "r1", good("exp", at(0))), Expired},
		{"not yet", sign(t, jose.RS256, r, "r1", good("nbf", at(skew+time.Second))), NotYetValid},
		{"issued later", sign(t, jose.RS256, r, "r1", good("iat", at(skew+time.Second))), NotYetValid},
		{"a tag with two values", sign(t, jose.RS256, r, "r1", good("https://aws.amazon.com/tags",
			map[string]any{"principal_tags": map[string][]string{"team": {"red", "blue"}}})), BadClaim},
		{"an endless subject", sign(t, jose.RS256, r, "r1", good("sub", strings.Repeat("x", 256))), BadClaim},
		{"a number as subject", sign(t, jose.RS256, r, "r1", good("sub", 7)), Malformed},
	} {
		id, err := v.Verify(t.Context(), tt.token)
		if err == nil {
			t.Errorf("%s: accepted as %+v", tt.name, id)
			continue
		}
		if got := reasonOf(t, err); got != tt.want {
			t.Errorf("%s: %v, want reason %d", tt.name, err, tt.want)
		}
	}
}

// issuer is a server of keys that counts what it is asked.
type issuer struct {
	*httptest.Server
	asked atomic.Int64
	keys  atomic.Pointer[[]byte]
	// document replaces the discovery document, status its status.
	document atomic.Pointer[string]
	down     atomic.Bool
}

func newIssuer(t testing.TB, keys ...jose.JSONWebKey) (*issuer, *Verifier, *atomic.Int64) {
	t.Helper()
	i := &issuer{}
	i.keys.Store(new(set(keys...)))
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		if i.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if d := i.document.Load(); d != nil {
			fmt.Fprint(w, *d)
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/jwks")
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) { w.Write(*i.keys.Load()) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxDocument+1)) })
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := ParseIssuer(i.URL + " audience=sts.amazonaws.com ca=" + ca)
	if err != nil {
		t.Fatal(err)
	}
	later := &atomic.Int64{}
	v, err := NewVerifier([]Issuer{conf}, func() time.Time { return epoch.Add(time.Duration(later.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	return i, v, later
}

func TestKeysAreFetchedAndKept(t *testing.T) {
	t.Parallel()
	r, e := testKeys(t)
	i, v, later := newIssuer(t, public("r1", r))
	verify := func(alg jose.SignatureAlgorithm, key any, id string) error {
		_, err := v.Verify(context.Background(), sign(t, alg, key, id, good("iss", i.URL, "exp", at(1000*time.Hour))))
		return err
	}
	for range 3 {
		if err := verify(jose.RS256, r, "r1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times, want once", n)
	}
	// A key that nobody has does not make a stranger's every token a request.
	for range 5 {
		if err := verify(jose.ES256, e, "e1"); err == nil || reasonOf(t, err) != BadSignature {
			t.Errorf("an unknown key: %v", err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("unknown keys asked the issuer %d times within a minute, want once in all", n)
	}
	// New keys are found when they are needed.
	i.keys.Store(new(set(public("r1", r), public("e1", e))))
	later.Store(int64(fetchAgain))
	if err := verify(jose.ES256, e, "e1"); err != nil {
		t.Errorf("a new key: %v", err)
	}
	// Old keys serve while the issuer is away, but not for ever.
	i.down.Store(true)
	later.Store(int64(2 * time.Hour))
	if err := verify(jose.RS256, r, "r1"); err != nil {
		t.Errorf("while the issuer is away: %v", err)
	}
	later.Store(int64(keepStale + 2*time.Hour))
	if err := verify(jose.RS256, r, "r1"); err == nil || reasonOf(t, err) != Unreachable {
		t.Errorf("a day later: %v", err)
	}
	// A key that the issuer took back is gone.
	i.down.Store(false)
	i.keys.Store(new(set(public("e1", e))))
	later.Store(int64(keepStale + 3*time.Hour))
	if err := verify(jose.RS256, r, "r1"); err == nil || reasonOf(t, err) != BadSignature {
		t.Errorf("a key that was taken back: %v", err)
	}
}

func TestIssuersThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	r, _ := testKeys(t)
	for name, doc := range map[string]string{
		"not JSON":             "<html>",
		"another issuer":       `{"issuer":"https://evil.example.com","jwks_uri":"%[1]s/jwks"}`,
		"keys without TLS":     `{"issuer":%[1]q,"jwks_uri":"http://127.0.0.1/jwks"}`,
		"no keys":              `{"issuer":%[1]q}`,
		"redirects from TLS":   `{"issuer":%[1]q,"jwks_uri":"%[1]s/away"}`,
		"too much":             `{"issuer":%[1]q,"jwks_uri":"%[1]s/huge"}`,
		"keys do not exist":    `{"issuer":%[1]q,"jwks_uri":"%[1]s/none"}`,
		"keys of a local file": `{"issuer":%[1]q,"jwks_uri":"file:///etc/passwd"}`,
	} {
		i, v, _ := newIssuer(t, public("r1", r))
		if strings.Contains(doc, "%") {
			doc = fmt.Sprintf(doc, i.URL)
		}
		i.document.Store(&doc)
		_, err := v.Verify(t.Context(), sign(t, jose.RS256, r, "r1", good("iss", i.URL)))
		if err == nil || reasonOf(t, err) != Unreachable {
			t.Errorf("%s: %v, want unreachable", name, err)
		}
	}
}

func TestParseIssuer(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "https://a", "http://a audience=x", "https://a audience=", "https://a audience=x audience", "https://a audience=x colour=red",
		"https://a?x audience=x", "https://u:p@a audience=x", "https://a audience=x jwks=1 jwks=2", "https:// audience=x", "https://a#f audience=x"} {
		if i, err := ParseIssuer(text); err == nil {
			t.Errorf("%q is accepted as %+v", text, i)
		}
	}
	if _, err := NewVerifier([]Issuer{{URL: "https://a", KeyFile: filepath.Join(t.TempDir(), "none")}}, time.Now); err == nil {
		t.Error("a key file that does not exist is accepted")
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	r, e := testKeys(t)
	enc := public("enc", r)
	enc.Use = "enc"
	private := jose.JSONWebKey{Key: e, KeyID: "private"}
	secret := jose.JSONWebKey{Key: []byte("secret"), KeyID: "secret"}
	keys, err := parseKeys(set(public("r1", r), enc, private, secret, public("weak", weakKey)))
	if err != nil || len(keys) != 1 || keys[0].KeyID != "r1" {
		t.Errorf("the keys are %v, %v; want r1 alone", keys, err)
	}
	keys, err = parseKeys([]byte(`{"keys":[{"kty":"OKP","crv":"X1","x":"AA"},` + string(set(public("e1", e))[9:])))
	if err != nil || len(keys) != 1 {
		t.Errorf("beside a key of an unknown kind: %v, %v", keys, err)
	}
	for _, raw := range []string{"", "[]", `{"keys":[]}`, `{"keys":[{}]}`, `{"keys":[` + strings.Repeat(`{},`, 101) + `{}]}`} {
		if _, err := parseKeys([]byte(raw)); err == nil {
			t.Errorf("%.20s is accepted", raw)
		}
	}
}

// FuzzVerify looks for tokens that are accepted and were not signed by the
// issuer, and for panics.
func FuzzVerify(f *testing.F) {
	r, e := testKeys(f)
	v := fileVerifier(f, public("r1", r), public("e1", e))
	token := sign(f, jose.RS256, r, "r1", good())
	signed := map[string]bool{}
	for _, tok := range []string{token, sign(f, jose.ES256, e, "e1", good()), sign(f, jose.ES256, e, "", good("aud", []string{"a"}))} {
		part := strings.Split(tok, ".")
		signed[part[0]+"."+part[1]] = true
		f.Add(tok)
	}
	f.Add("")
	f.Add("..")
	f.Add(strings.Replace(token, ".", "..", 1))
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(t.Context(), token)
		if err != nil {
			return
		}
		i := strings.LastIndexByte(token, '.')
		if i < 0 || !signed[token[:i]] {
			t.Errorf("the token %q was not signed and is accepted as %+v", token, id)
		}
	})
}

// FuzzParseKeys looks for panics and for keys that must not verify.
func FuzzParseKeys(f *testing.F) {
	r, e := testKeys(f)
	f.Add(set(public("r1", r), public("e1", e)))
	f.Add(set(jose.JSONWebKey{Key: e}))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := parseKeys(raw)
		for _, k := range keys {
			if !k.IsPublic() {
				t.Errorf("%s: a key that is not public is taken", raw)
			}
		}
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys and %v", len(keys), err)
		}
	})
}
