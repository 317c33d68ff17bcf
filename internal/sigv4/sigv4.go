// Package sigv4 verifies AWS Signature Version 4: in the Authorization header,
// in a presigned URL, over the chunks of a streamed S3 upload, and in the SASL
// exchange of Keyspaces. It is the authenticate step of a call's path, without
// a store: secrets come from a lookup that the caller gives.
//
// Source: AWS general reference, "Signature Version 4 signing process"; S3 API
// reference, "Authenticating Requests (AWS Signature Version 4)".
package sigv4

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"spoor/internal/aws"
)

// Limits of a signature's parts.
const (
	Algorithm = "AWS4-HMAC-SHA256"
	// MaxExpires is the longest life of a presigned URL: 7 days (S3 API
	// reference, X-Amz-Expires).
	MaxExpires = 604800 * time.Second
	// maxHeader bounds the Authorization header, in bytes.
	maxHeader = 8 << 10
	// maxQuery bounds a presigned URL's query, in bytes; a session token is the
	// largest part of it.
	maxQuery = 32 << 10
	// maxSigned bounds the number of signed headers.
	maxSigned = 128

	timeLayout = "20060102T150405Z"
	dateLayout = "20060102"
)

// Payload hashes that are not a hash (S3 API reference, x-amz-content-sha256).
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	emptySHA256              = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Lookup returns the secret of an access key. It fails for a key or token that
// does not exist, is inactive or has expired; its error is passed on, so that
// it may be an *Error (Refuse) or one of the caller's own.
type Lookup func(accessKeyID, sessionToken string) (secret string, err error)

// Options say how strictly to verify.
type Options struct {
	Now time.Time
	// Skew is how far the signature's date may be from Now. AWS allows 5
	// minutes, S3 15.
	Skew time.Duration
	// S3 switches to S3's rules: the path is taken as it was sent, and the
	// payload hash is the header x-amz-content-sha256.
	S3 bool
	// BodySHA256 is the hex hash of the body for services other than S3, whose
	// clients do not send it.
	BodySHA256 string
	// Region and Service are those that the credential must be scoped to; empty
	// accepts any, for a caller that is told by the signature which one is meant.
	Region, Service string
	// ValidRegion, when set, must hold for the credential's region. Without it a
	// caller could sign for a region of any name and length.
	ValidRegion func(string) bool
}

// Verified is what a valid signature proves.
type Verified struct {
	AccessKeyID  string
	SessionToken string
	Region       string
	Service      string
	Date         time.Time
	Presigned    bool
	// PayloadHash is the x-amz-content-sha256 that was signed. Where it is a
	// hash, the body must still be checked against it (Body does).
	PayloadHash string

	signature  string // the seed of chunk signatures
	signingKey []byte
	scope      string
}

// parsed is a signature as it stands in a request.
type parsed struct {
	accessKey, date, region, service string // the credential scope
	signedHeaders                    []string
	signature                        string
	token                            string
	time                             time.Time
	expires                          time.Duration
	presigned                        bool
	payload                          string // X-Amz-Content-Sha256 of a presigned URL
}

func (p *parsed) scope() string {
	return p.date + "/" + p.region + "/" + p.service + "/aws4_request"
}

// Claim returns the access key and scope that a request names, unproven, for
// records of failed authentication. ok is false when it names none.
func Claim(r *http.Request) (accessKeyID, sessionToken, region, service string, ok bool) {
	p, err := parse(r)
	if err != nil {
		return "", "", "", "", false
	}
	return p.accessKey, p.token, p.region, p.service, true
}

// Signed reports whether a request carries any form of signature, the old
// version 2 too, which is refused: a request that means to be signed is never
// taken for an anonymous one.
func Signed(r *http.Request) bool {
	return len(r.Header.Values("Authorization")) > 0 || presigned(r) || presignedV2(r)
}

func presigned(r *http.Request) bool {
	return hasParameter(r.URL.RawQuery, "X-Amz-Algorithm") || hasParameter(r.URL.RawQuery, "X-Amz-Credential") ||
		hasParameter(r.URL.RawQuery, "X-Amz-Signature")
}

// presignedV2 recognises a URL presigned by version 2, which no region takes
// any more (S3 user guide, "Signature Version 2 turned off").
func presignedV2(r *http.Request) bool {
	return hasParameter(r.URL.RawQuery, "AWSAccessKeyId") && hasParameter(r.URL.RawQuery, "Signature")
}

// hasParameter reports whether a raw query has a parameter. It reads the query
// itself because Query drops what it cannot parse.
func hasParameter(raw, name string) bool {
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if k, _, _ := strings.Cut(part, "="); k == name || strings.Contains(k, "%") && unescape(k) == name {
			return true
		}
	}
	return false
}

func parse(r *http.Request) (*parsed, error) {
	header := len(r.Header.Values("Authorization")) > 0
	switch {
	case header && presigned(r):
		return nil, fail(TwoMechanisms, "")
	case header:
		return parseHeader(r)
	case presigned(r):
		return parseQuery(r)
	case presignedV2(r):
		return nil, fail(Unsupported, "the signature's version is not 4")
	}
	return nil, fail(Missing, "the request is not signed")
}

// parseHeader reads "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…".
func parseHeader(r *http.Request) (*parsed, error) {
	h := r.Header.Get("Authorization")
	if len(h) > maxHeader || len(r.Header.Values("Authorization")) > 1 {
		return nil, fail(Malformed, "the Authorization header is too long or given twice")
	}
	algorithm, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
	if algorithm != Algorithm {
		return nil, fail(Unsupported, "Unsupported AWS 'algorithm': only "+Algorithm+" is accepted")
	}
	p := &parsed{token: r.Header.Get("X-Amz-Security-Token")}
	var credential, signed string
	for part := range strings.SplitSeq(rest, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return nil, fail(Malformed, "the Authorization header has a part that is not a key=value pair (missing equal-sign)")
		}
		var dst *string
		switch k {
		case "Credential":
			dst = &credential
		case "SignedHeaders":
			dst = &signed
		case "Signature":
			dst = &p.signature
		}
		if dst == nil || *dst != "" {
			return nil, fail(Malformed, "the Authorization header has an unknown or repeated part")
		}
		*dst = v
	}
	date := r.Header.Get("X-Amz-Date")
	if date == "" {
		date = r.Header.Get("Date")
	}
	if text := lacking(credential, signed, p.signature, date); text != "" {
		return nil, fail(Malformed, text)
	}
	return p, p.finish(credential, signed, date)
}

// lacking says, as AWS does, which parts a signature lacks.
func lacking(credential, signed, signature, date string) string {
	var out []string
	for _, x := range [...]struct{ value, name string }{{credential, "Credential"}, {signature, "Signature"}, {signed, "SignedHeaders"}} {
		if x.value == "" {
			out = append(out, "Authorization header requires '"+x.name+"' parameter.")
		}
	}
	if date == "" {
		out = append(out, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return strings.Join(out, " ")
}

// parseQuery reads a presigned URL's X-Amz-… parameters.
func parseQuery(r *http.Request) (*parsed, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, fail(MalformedQuery, "the query string is too long")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fail(MalformedQuery, "the query string cannot be parsed")
	}
	for _, k := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if len(q[k]) != 1 || q[k][0] == "" {
			return nil, fail(MalformedQuery, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
		}
	}
	if q.Get("X-Amz-Algorithm") != Algorithm {
		return nil, fail(MalformedQuery, "X-Amz-Algorithm only supports \""+Algorithm+"\"")
	}
	seconds, err := strconv.ParseInt(q.Get("X-Amz-Expires"), 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return nil, fail(MalformedQuery, "X-Amz-Expires should be a number")
	case seconds < 0:
		return nil, fail(MalformedQuery, "X-Amz-Expires must be non-negative")
	case seconds > int64(MaxExpires/time.Second):
		return nil, fail(MalformedQuery, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	p := &parsed{presigned: true, signature: q.Get("X-Amz-Signature"), token: q.Get("X-Amz-Security-Token"),
		payload: q.Get("X-Amz-Content-Sha256"), expires: time.Duration(seconds) * time.Second}
	return p, p.finish(q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Date"))
}

// finish checks and splits the parts that both forms have.
func (p *parsed) finish(credential, signed, date string) error {
	malformed := Malformed
	if p.presigned {
		malformed = MalformedQuery
	}
	c := strings.Split(credential, "/")
	if len(c) != 5 || c[0] == "" || c[2] == "" || c[3] == "" {
		return fail(malformed, "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
	}
	if c[4] != "aws4_request" {
		return fail(malformed, "Credential should be scoped with a valid terminator: 'aws4_request'.")
	}
	p.accessKey, p.date, p.region, p.service = c[0], c[1], c[2], c[3]
	p.signedHeaders = strings.Split(signed, ";")
	if len(p.signedHeaders) > maxSigned || !slices.IsSorted(p.signedHeaders) {
		return fail(malformed, "the signed headers are not a sorted list")
	}
	if len(p.signature) != 2*sha256.Size {
		return fail(Mismatch, "")
	}
	t, err := time.Parse(timeLayout, date)
	if err != nil {
		if t, err = http.ParseTime(date); err != nil || p.presigned {
			return fail(malformed, "Date must be in ISO-8601 'basic format', YYYYMMDD'T'HHMMSS'Z'.")
		}
	}
	p.time = t.UTC()
	if p.time.Format(dateLayout) != p.date {
		return fail(WrongDate, p.time.Format(dateLayout))
	}
	return nil
}

// Verify checks a request's signature. The body is not read: where the payload
// hash is a hash, Verified.Body checks it as it is read; for other services
// than S3 the caller has hashed it already.
func Verify(r *http.Request, lookup Lookup, o Options) (*Verified, error) {
	p, err := parse(r)
	if err != nil {
		return nil, err
	}
	if err := p.checkScope(o); err != nil {
		return nil, err
	}
	if err := p.checkTime(o); err != nil {
		return nil, err
	}
	if !wellFormed(r.URL.RawQuery) {
		return nil, fail(BadURI, "")
	}
	if err := p.checkSigned(r, o); err != nil {
		return nil, err
	}
	payload, err := payloadHash(r, p, o)
	if err != nil {
		return nil, err
	}
	secret, err := lookup(p.accessKey, p.token)
	if err != nil {
		return nil, err
	}
	key := signingKey(secret, p.date, p.region, p.service)
	if !p.matches(r, key, payload, o.S3) {
		return nil, fail(Mismatch, "")
	}
	return &Verified{AccessKeyID: p.accessKey, SessionToken: p.token, Region: p.region, Service: p.service, Date: p.time,
		Presigned: p.presigned, PayloadHash: payload, signature: p.signature, signingKey: key, scope: p.scope()}, nil
}

// matches compares the signature with that of each form that clients give the
// path; all of them bind the same path.
func (p *parsed) matches(r *http.Request, key []byte, payload string, s3 bool) bool {
	ok := 0
	for _, path := range canonicalPaths(r.URL, s3) {
		want := hex.EncodeToString(mac(key, stringToSign(p.time, p.scope(), canonicalRequest(r, p, path, payload))))
		ok |= subtle.ConstantTimeCompare([]byte(want), []byte(p.signature))
	}
	return ok == 1
}

// checkScope insists on the region and service that the caller stands for: a
// signature for another must not serve here.
func (p *parsed) checkScope(o Options) error {
	if o.Region != "" && p.region != o.Region {
		return &Error{Reason: WrongRegion, Detail: o.Region, given: p.region}
	}
	if o.ValidRegion != nil && !o.ValidRegion(p.region) {
		return &Error{Reason: WrongRegion, Detail: aws.GlobalRegion, given: p.region}
	}
	if o.Service != "" && p.service != o.Service {
		return &Error{Reason: WrongService, Detail: o.Service, given: p.service}
	}
	return nil
}

func (p *parsed) checkTime(o Options) error {
	if p.presigned {
		if o.Now.Add(o.Skew).Before(p.time) {
			return &Error{Reason: NotYetValid, when: p.time, now: o.Now, skew: o.Skew}
		}
		if o.Now.After(p.time.Add(p.expires)) {
			return &Error{Reason: Expired, when: p.time, now: o.Now, skew: p.expires}
		}
		return nil
	}
	if d := o.Now.Sub(p.time); d > o.Skew || d < -o.Skew {
		return &Error{Reason: Skewed, when: p.time, now: o.Now, skew: o.Skew}
	}
	return nil
}

// checkSigned insists that host and every x-amz- header is signed: an unsigned
// one could be changed on the way, or added to a presigned URL by its holder
// (x-amz-copy-source would turn an upload into a copy). S3 lets a presigned
// request go without a signed x-amz-content-sha256, and outside of S3 that
// header means nothing; the date is part of the string to sign.
func (p *parsed) checkSigned(r *http.Request, o Options) error {
	if !slices.Contains(p.signedHeaders, "host") {
		return fail(HeadersNotSigned, "host")
	}
	var unsigned []string
	for h := range r.Header {
		if len(h) <= len("x-amz-") || !strings.EqualFold(h[:len("x-amz-")], "x-amz-") {
			continue
		}
		h = strings.ToLower(h)
		if slices.Contains(p.signedHeaders, h) {
			continue
		}
		if h == "x-amz-content-sha256" && (p.presigned || !o.S3) || h == "x-amz-date" && !o.S3 {
			continue
		}
		unsigned = append(unsigned, h)
	}
	if len(unsigned) == 0 {
		return nil
	}
	slices.Sort(unsigned)
	return fail(HeadersNotSigned, strings.Join(unsigned, ", "))
}

func payloadHash(r *http.Request, p *parsed, o Options) (string, error) {
	if !o.S3 {
		return o.BodySHA256, nil
	}
	h := r.Header.Get("X-Amz-Content-Sha256")
	if p.presigned && h == "" {
		h = p.payload
	}
	switch {
	case p.presigned && h == "":
		return UnsignedPayload, nil
	case h == UnsignedPayload, h == StreamingSigned, h == StreamingSignedTrailer, h == StreamingUnsignedTrailer:
		return h, nil
	}
	if h == "" {
		return "", fail(MissingPayloadHash, "")
	}
	if _, err := hex.DecodeString(h); err != nil || len(h) != 2*sha256.Size {
		return "", fail(BadPayloadHash, "")
	}
	return h, nil
}

// canonicalRequest is task 1 of the signing process.
func canonicalRequest(r *http.Request, p *parsed, path, payload string) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	b.WriteString(path)
	b.WriteByte('\n')
	b.WriteString(canonicalQuery(r.URL.RawQuery, p.presigned))
	b.WriteByte('\n')
	for _, h := range p.signedHeaders {
		b.WriteString(h)
		b.WriteByte(':')
		b.WriteString(headerValue(r, h))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(p.signedHeaders, ";"))
	b.WriteByte('\n')
	b.WriteString(payload)
	return b.String()
}

// headerValue is a header's canonical value: its values joined by commas, each
// trimmed and with runs of blanks made one.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		if r.Header.Get("Content-Length") == "" && r.ContentLength >= 0 {
			return strconv.FormatInt(r.ContentLength, 10)
		}
	case "transfer-encoding":
		if len(r.TransferEncoding) > 0 {
			return strings.Join(r.TransferEncoding, ",")
		}
	}
	values := r.Header.Values(name)
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(out, ",")
}

// canonicalPaths are the forms of the path that clients sign. S3 takes the path
// as it is, and clients differ in what they escape: the form of the decoded
// path and the one that was sent. All other services encode the path once
// more, after or without removing its dot segments.
func canonicalPaths(u *url.URL, s3 bool) []string {
	path := u.EscapedPath()
	if path == "" || path == "/" {
		return []string{"/"}
	}
	if !s3 {
		return distinct(escape(normalise(path), false), escape(path, false))
	}
	if decoded, err := url.PathUnescape(path); err == nil {
		return distinct(escape(decoded, false), path)
	}
	return []string{path}
}

func distinct(a, b string) []string {
	if a == b {
		return []string{a}
	}
	return []string{a, b}
}

// normalise removes empty and dot segments (RFC 3986, section 5.2.4), as
// services other than S3 do before signing.
func normalise(path string) string {
	var out []string
	for _, s := range strings.Split(path, "/") {
		switch s {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
		}
	}
	clean := "/" + strings.Join(out, "/")
	if len(clean) > 1 && strings.HasSuffix(path, "/") {
		clean += "/"
	}
	return clean
}

// wellFormed reports whether a query means the same to everyone. Servers drop
// a parameter with a bad escape or a semicolon, while its canonical form is that
// of the one with the character escaped: changing one into the other would
// change a signed request.
func wellFormed(raw string) bool {
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case ';':
			return false
		case '%':
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return false
			}
			i += 2
		}
	}
	return true
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func canonicalQuery(raw string, presigned bool) string {
	if raw == "" {
		return ""
	}
	type pair struct{ name, value string }
	pairs := make([]pair, 0, 1+strings.Count(raw, "&"))
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		k = unescape(k)
		if presigned && k == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{escape(k, true), escape(unescape(v), true)})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	var b strings.Builder
	for i, x := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(x.name)
		b.WriteByte('=')
		b.WriteString(x.value)
	}
	return b.String()
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return out
}

const upperHex = "0123456789ABCDEF"

// escape is AWS's URI encoding: everything but unreserved characters, and "/"
// in paths.
func escape(s string, slash bool) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !unreserved(s[i], slash) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	out := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; unreserved(c, slash) {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out)
}

func unreserved(c byte, slash bool) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~' || c == '/' && !slash
}

// stringToSign is task 2 of the signing process.
func stringToSign(t time.Time, scope, canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return Algorithm + "\n" + t.Format(timeLayout) + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
}

// signingKey is task 3 of the signing process.
func signingKey(secret, date, region, service string) []byte {
	k := mac([]byte("AWS4"+secret), date)
	k = mac(k, region)
	k = mac(k, service)
	return mac(k, "aws4_request")
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}
