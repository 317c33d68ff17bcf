// Package awshttp speaks AWS's HTTP protocols: JSON 1.0, JSON 1.1 and query
// with XML answers. It is the listener's end of a call's path: it decodes a
// request into the SDK's typed input, has the signature verified, hands the
// call to call.Path and encodes what came back. It knows protocols, not
// services; S3's own protocol is the s3 package's.
package awshttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"spoor/internal/aws"
	"spoor/internal/awshttp/model"
	"spoor/internal/call"
	"spoor/internal/record"
)

// DefaultMaxBody is the largest request body that is read, in bytes. The
// largest modelled input is far below it (an Athena query of 256 KiB).
const DefaultMaxBody = 4 << 20

// EncodedDenialHeader carries a denial's sealed particulars, which
// sts:DecodeAuthorizationMessage opens. They are not in the message: that is
// AWS's, to the letter.
const EncodedDenialHeader = "x-spoor-encoded-authorization-message"

// Identity is an authenticated caller and the scope it signed for.
type Identity struct {
	Caller  *aws.Caller
	Region  string
	Service string // signing name
}

// AuthError says that authentication failed. Claimed is the identity whose
// credential was named, when that credential exists; it is recorded as
// claimed, not as proven.
type AuthError struct {
	Claimed *aws.Caller
	Region  string
	Err     error
}

func (e *AuthError) Error() string { return e.Err.Error() }
func (e *AuthError) Unwrap() error { return e.Err }

// Authenticator proves who sent a request. Implementations verify the
// signature over the given body, the date and the credential, and return an
// *AuthError wrapping an *aws.Error when any of them fails. A signature for
// another service than the one with the given signing name must fail. query
// says that the error's code must be that of the query protocol.
type Authenticator interface {
	Authenticate(r *http.Request, body []byte, service string, query bool) (*Identity, error)
}

// service is a registered service with its operations by name.
type service struct {
	*call.Service
	ops   map[string]*call.Operation
	model *model.Model
}

// signingName is the service's name in credential scopes and actions.
func (s *service) signingName() string {
	if s.SigningName != "" {
		return s.SigningName
	}
	return s.Name
}

// Handler is the HTTP front of all services but S3.
type Handler struct {
	path     *call.Path
	auth     Authenticator
	s3       http.Handler
	log      *slog.Logger
	region   string
	account  string
	maxBody  int64
	admit    func(r *http.Request) error
	byName   map[string]*service // signing name
	byTarget map[string]*service // X-Amz-Target prefix
}

// Config is what NewHandler needs.
type Config struct {
	Path     *call.Path
	Auth     Authenticator
	Services []*call.Service
	S3       http.Handler // gets every request that is not one of Services
	Log      *slog.Logger
	Region   string // for requests that name none
	Account  string // for records of rejected requests that name no account
	MaxBody  int64  // bytes; 0 means DefaultMaxBody
	// Admit, when set, may refuse a request of an unsigned operation before it
	// is decoded. Such a request leaves no record.
	Admit func(r *http.Request) error
}

// NewHandler registers the services. It fails on a service without a model, an
// operation that AWS does not know, or a name registered twice.
func NewHandler(c Config) (*Handler, error) {
	h := &Handler{path: c.Path, auth: c.Auth, s3: c.S3, log: c.Log, region: c.Region, account: c.Account,
		maxBody: c.MaxBody, admit: c.Admit, byName: map[string]*service{}, byTarget: map[string]*service{}}
	if h.maxBody == 0 {
		h.maxBody = DefaultMaxBody
	}
	for _, s := range c.Services {
		m, err := model.Load(s.Name)
		if err != nil {
			return nil, err
		}
		reg := &service{Service: s, ops: map[string]*call.Operation{}, model: m}
		for i := range s.Operations {
			op := &s.Operations[i]
			if !m.Has(op.Name) {
				return nil, fmt.Errorf("%s has no operation %s", s.Name, op.Name)
			}
			if reg.ops[op.Name] != nil {
				return nil, fmt.Errorf("%s:%s is registered twice", s.Name, op.Name)
			}
			reg.ops[op.Name] = op
		}
		name := reg.signingName()
		if h.byName[name] != nil {
			return nil, fmt.Errorf("service %s is registered twice", name)
		}
		h.byName[name] = reg
		for _, p := range s.TargetPrefixes {
			h.byTarget[p] = reg
		}
	}
	return h, nil
}

// request is one HTTP request on its way.
type request struct {
	svc   *service
	op    string
	query bool
	form  url.Values
	body  []byte
	c     *call.Call
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	svc, target, isAPI := h.route(r)
	if !isAPI {
		h.s3.ServeHTTP(w, r)
		return
	}
	rq := &request{svc: svc, op: target, c: NewCall(r, h.path.Now(), h.region)}
	if err := h.serve(w, r, rq); err != nil {
		h.fail(w, rq, err)
	}
}

// route finds the service that a request is for: by target header for the JSON
// protocols, by credential scope and form for the query protocol. Everything
// else is S3's.
func (h *Handler) route(r *http.Request) (svc *service, operation string, isAPI bool) {
	if t := r.Header.Get("X-Amz-Target"); t != "" {
		i := strings.LastIndexByte(t, '.')
		if i < 0 {
			return nil, t, true
		}
		return h.byTarget[t[:i]], t[i+1:], true
	}
	name := scopeService(r)
	if s := h.byName[name]; s != nil {
		return s, "", true
	}
	if name != "" && name != "s3" {
		return nil, "", true
	}
	if name == "" && r.Method == http.MethodPost && r.URL.Path == "/" && isForm(r) {
		return h.byName["sts"], "", true // unsigned form posts are STS's federation calls
	}
	return nil, "", false
}

func isForm(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == "application/x-www-form-urlencoded"
}

// scopeService is the service in the request's credential scope, "" when the
// request is unsigned or its credential is malformed.
func scopeService(r *http.Request) string {
	cred := ""
	if a := r.Header.Get("Authorization"); a != "" {
		if _, after, ok := strings.Cut(a, "Credential="); ok {
			cred, _, _ = strings.Cut(after, ",")
		}
	} else if r.URL.RawQuery != "" {
		cred = r.URL.Query().Get("X-Amz-Credential")
	}
	p := strings.Split(strings.TrimSpace(cred), "/")
	if len(p) < 5 {
		return ""
	}
	return p[len(p)-2]
}

// NewCall starts a call from an HTTP request: everything but its caller.
func NewCall(r *http.Request, now time.Time, region string) *call.Call {
	ip := r.RemoteAddr
	if host, _, err := net.SplitHostPort(ip); err == nil {
		ip = host
	}
	return &call.Call{
		RequestID: call.NewID(), EventID: call.NewID(), Region: region, Start: now,
		SourceIP: ip, UserAgent: r.UserAgent(), TLS: record.NewTLS(r.TLS, r.Host),
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, rq *request) error {
	body, err := readBody(r, h.maxBody)
	if err != nil {
		return err
	}
	rq.body = body
	rq.query = rq.svc != nil && rq.svc.Protocol == call.Query
	if rq.query {
		if rq.form, err = parseForm(r, body); err != nil {
			return err
		}
		rq.op = rq.form.Get("Action")
	}
	if rq.svc != nil && rq.svc.Protocol == call.RESTJSON {
		rq.op = operationAt(rq.svc, r)
		rq.form = r.URL.Query()
	}
	if rq.svc == nil {
		return unknownOperation(rq)
	}
	id, err := h.identify(r, rq)
	if err != nil {
		return h.rejectAuth(rq, err)
	}
	rq.c.Caller, rq.c.AccountID = id.Caller, id.Caller.AccountID
	if id.Caller.Type == aws.Anonymous {
		rq.c.AccountID = h.account
	}
	if id.Region != "" {
		rq.c.Region = id.Region
	}
	if rq.svc.Global {
		rq.c.Region = aws.GlobalRegion
	}
	step, err := h.step(rq)
	if err != nil {
		return err
	}
	if err := h.path.Run(r.Context(), rq.c, step); err != nil {
		return err
	}
	h.answer(w, rq, step)
	return nil
}

// identify proves the caller, or takes it as anonymous where the operation
// needs no signature. One that is there is not looked at then, as on AWS.
func (h *Handler) identify(r *http.Request, rq *request) (*Identity, error) {
	if op := rq.svc.ops[rq.op]; op != nil && op.Unsigned {
		if h.admit != nil {
			if err := h.admit(r); err != nil {
				return nil, err
			}
		}
		return &Identity{Caller: aws.AnonymousCaller()}, nil
	}
	return h.auth.Authenticate(r, rq.body, rq.svc.signingName(), rq.query)
}

// operationAt finds an operation of the REST protocol, "" for none.
func operationAt(s *service, r *http.Request) string {
	for i := range s.Operations {
		if r.Method == http.MethodPost && r.URL.Path == s.Operations[i].Path {
			return s.Operations[i].Name
		}
	}
	return ""
}

// readBody reads a body of at most limit bytes.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	tooLarge := &aws.Error{Op: "awshttp.read", Kind: aws.TooLarge, Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("The request body is larger than %d bytes.", limit)}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &aws.Error{Op: "awshttp.read", Kind: aws.Invalid, Code: "RequestTimeoutException", Status: http.StatusRequestTimeout,
			Message: "The request body was not sent in time.", Err: err}
	case err != nil:
		return nil, &aws.Error{Op: "awshttp.read", Kind: aws.Invalid, Code: "IncompleteBody", Message: "The request body ended early.", Err: err}
	case int64(len(body)) > limit:
		return nil, tooLarge
	}
	return body, nil
}

func parseForm(r *http.Request, body []byte) (url.Values, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, malformedQuery("The request's parameters are not a valid form.")
	}
	for k, v := range r.URL.Query() {
		if _, ok := form[k]; !ok {
			form[k] = v
		}
	}
	return form, nil
}

func unknownOperation(rq *request) error {
	if rq.query && rq.op == "" {
		return &aws.Error{Kind: aws.Invalid, Code: "MissingAction", Message: "Missing Action"}
	}
	if rq.query {
		return &aws.Error{Kind: aws.Invalid, Code: "InvalidAction",
			Message: fmt.Sprintf("Could not find operation %s for version %s", rq.op, rq.form.Get("Version"))}
	}
	return &aws.Error{Kind: aws.Invalid, Code: "UnknownOperationException", Message: "The operation is not known."}
}

// rejectAuth records a failed authentication whose credential exists and
// returns its error.
func (h *Handler) rejectAuth(rq *request, err error) error {
	var ae *AuthError
	if !errors.As(err, &ae) || ae.Claimed == nil {
		return err
	}
	rq.c.Caller, rq.c.AccountID = ae.Claimed, ae.Claimed.AccountID
	if ae.Region != "" {
		rq.c.Region = ae.Region
	}
	if rq.svc.Global {
		rq.c.Region = aws.GlobalRegion
	}
	if !rq.svc.model.Has(rq.op) {
		return err
	}
	return h.path.Reject(rq.c, err, func(r *record.Record) { describeService(rq.svc, rq.op, r) })
}

func describeService(s *service, op string, r *record.Record) {
	r.EventSource, r.EventName = s.EventSource, op
	if s.RecordAPIVersion {
		r.APIVersion = s.APIVersion
	}
	if o := s.ops[op]; o != nil {
		r.ReadOnly = o.ReadOnly
		if o.EventName != "" {
			r.EventName = o.EventName
		}
		if o.Data {
			r.Category = record.Data
		}
	}
}

// step decodes the input. An input that does not decode or violates its model
// is recorded before its error is returned.
func (h *Handler) step(rq *request) (*step, error) {
	op := rq.svc.ops[rq.op]
	if op == nil {
		if !rq.svc.model.Has(rq.op) {
			if rq.svc.UnknownError != nil {
				return nil, rq.svc.UnknownError(rq.op)
			}
			return nil, unknownOperation(rq)
		}
		return &step{svc: rq.svc, op: refusal(rq.svc, rq.op)}, nil
	}
	in, err := decodeInput(rq, op)
	if err != nil {
		return nil, h.path.Reject(rq.c, err, func(r *record.Record) { describeService(rq.svc, rq.op, r) })
	}
	return &step{svc: rq.svc, op: op, in: in}, nil
}

func decodeInput(rq *request, op *call.Operation) (any, error) {
	var tree map[string]any
	var err error
	if rq.query {
		tree, err = decodeForm(rq.form)
	} else {
		tree, err = decodeJSON(rq.body)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range op.QueryMembers {
		if v := rq.form.Get(m); v != "" {
			tree[m] = v
		}
	}
	rq.svc.model.Prune(op.Name, tree)
	in := op.NewInput()
	if err := (assigner{text: rq.query}).assign(reflect.ValueOf(in), tree, ""); err != nil {
		return nil, err
	}
	if msg := rq.svc.model.Validate(op.Name, tree); msg != "" {
		if rq.svc.ValidationError != nil {
			return nil, rq.svc.ValidationError(msg)
		}
		code := "ValidationException"
		if rq.query {
			code = "ValidationError"
		}
		return nil, &aws.Error{Op: rq.svc.Name + "." + op.Name, Kind: aws.Invalid, Code: code, Message: msg}
	}
	return in, nil
}

// refusal is an operation that AWS has and this server does not: it needs its
// permission, is recorded, and fails.
func refusal(s *service, name string) *call.Operation {
	return &call.Operation{
		Name:     name,
		ReadOnly: strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Describe"),
		Refused: func() error {
			if s.RefusedError != nil {
				return s.RefusedError(name)
			}
			return &aws.Error{Op: s.Name + "." + name, Kind: aws.Unsupported, Code: "UnsupportedOperationException",
				Message: "This server does not offer " + name + "."}
		},
	}
}

// fail encodes an error. Faults of the server itself are logged with their
// cause, which the client does not see.
func (h *Handler) fail(w http.ResponseWriter, rq *request, err error) {
	e := aws.AsError(err)
	if e.Kind == aws.Internal || e.Kind == aws.Unavailable {
		h.log.Error("a call failed inside the server", "request_id", rq.c.RequestID, "operation", rq.op, "err", err)
	}
	if e.Encoded != "" {
		w.Header().Set(EncodedDenialHeader, e.Encoded)
	}
	if rq.query {
		writeQueryError(w, rq, e)
		return
	}
	writeJSONError(w, rq, e)
}

func (h *Handler) answer(w http.ResponseWriter, rq *request, s *step) {
	if rq.query {
		writeQuery(w, rq, s)
		return
	}
	writeJSON(w, rq, s)
}

func contentType(rq *request) string {
	if rq.svc != nil && rq.svc.Protocol == call.JSON10 {
		return "application/x-amz-json-1.0"
	}
	if rq.svc != nil && rq.svc.Protocol == call.RESTJSON {
		return "application/json"
	}
	return "application/x-amz-json-1.1"
}

// bodies are buffers of answers: one that grows as it is written takes several
// times its size, a page of 50 events some 300 KiB.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// keptBody is how large a buffer may be to be kept.
const keptBody = 256 << 10

func writeJSON(w http.ResponseWriter, rq *request, s *step) {
	buf := bodies.Get().(*[]byte)
	b := (*buf)[:0]
	if s.out != nil {
		b = jsonWriter{lowerCamel: rq.svc.LowerCamel}.append(b, reflect.ValueOf(s.out))
	} else {
		b = append(b, "{}"...)
	}
	send(w, rq, http.StatusOK, contentType(rq), b)
	if cap(b) <= keptBody {
		*buf = b
	}
	bodies.Put(buf)
}

func writeJSONError(w http.ResponseWriter, rq *request, e *aws.Error) {
	code := e.Code
	if code == "AccessDenied" {
		code = "AccessDeniedException"
	}
	key := "message"
	if rq.svc != nil && rq.svc.ErrorMessageKey != "" {
		key = rq.svc.ErrorMessageKey
	}
	body := map[string]any{"__type": code, key: e.Message}
	for k, v := range e.Fields {
		body[k] = v
	}
	b, err := json.Marshal(body)
	if err != nil { // a field that cannot be marshalled must not hide the error itself
		b = []byte(`{"__type":"InternalFailure"}`)
	}
	w.Header().Set("x-amzn-ErrorType", code)
	send(w, rq, e.HTTPStatus(), contentType(rq), b)
}

func writeQuery(w http.ResponseWriter, rq *request, s *step) {
	var b strings.Builder
	name := s.op.Name
	b.WriteString("<" + name + `Response xmlns="` + rq.svc.XMLNamespace + `">`)
	if s.out != nil && (s.op.EmptyResult || len(fieldsOf(reflect.TypeOf(s.out).Elem())) > 0) {
		element(&b, name+"Result", func() { appendXML(&b, reflect.ValueOf(s.out)) })
	}
	element(&b, "ResponseMetadata", func() { element(&b, "RequestId", func() { b.WriteString(rq.c.RequestID) }) })
	b.WriteString("</" + name + "Response>")
	send(w, rq, http.StatusOK, "text/xml", []byte(b.String()))
}

func writeQueryError(w http.ResponseWriter, rq *request, e *aws.Error) {
	status := e.HTTPStatus()
	if e.Status == 0 {
		switch e.Kind {
		case aws.Denied, aws.Unauthenticated:
			status = http.StatusForbidden
		case aws.NotFound:
			status = http.StatusNotFound
		case aws.Conflict, aws.LimitExceeded:
			status = http.StatusConflict
		}
	}
	side := "Sender"
	if status >= 500 {
		side = "Receiver"
	}
	var b strings.Builder
	b.WriteString(`<ErrorResponse xmlns="` + rq.svc.XMLNamespace + `">`)
	element(&b, "Error", func() {
		element(&b, "Type", func() { b.WriteString(side) })
		element(&b, "Code", func() { escapeXML(&b, e.Code) })
		element(&b, "Message", func() { escapeXML(&b, e.Message) })
	})
	element(&b, "RequestId", func() { b.WriteString(rq.c.RequestID) })
	b.WriteString("</ErrorResponse>")
	send(w, rq, status, "text/xml", []byte(b.String()))
}

func send(w http.ResponseWriter, rq *request, status int, contentType string, body []byte) {
	hd := w.Header()
	hd.Set("Content-Type", contentType)
	hd.Set("x-amzn-RequestId", rq.c.RequestID)
	hd.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	// A client that is gone does not read its answer; the record is on disk.
	_, _ = w.Write(body)
}
