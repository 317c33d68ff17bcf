package server

import (
	"io"
	"net/http"
	"time"
)

// minBodyRate is the least average speed of a body, in bytes a second, beyond
// the time that every client has: a client that sends a byte now and then
// would otherwise keep its connection for days.
const minBodyRate = 1 << 10

// patient bounds how long a client's silence is waited for inside a request:
// each read of the body and each write of the answer may take timeout, and a
// body must keep minBodyRate. Handlers see os.ErrDeadlineExceeded.
//
// The deadlines are the connection's, so what is set here must not outlast the
// request: the read deadline is taken back when the body has ended (the HTTP
// server goes on reading, to notice a client that leaves), and the write
// deadline is set anew before every write. After a timeout the deadline stays,
// so that the HTTP server does not wait for the rest of the body either.
func patient(h http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pw := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w), timeout: timeout}
		pw.extend()
		if r.Body != nil && r.Body != http.NoBody {
			b := &patientBody{ReadCloser: r.Body, control: pw.control, timeout: timeout, start: time.Now()}
			// A copy: the HTTP server decides by the body in its own request
			// whether the rest is worth reading.
			r = r.WithContext(r.Context())
			r.Body = b
			// What is left of a body is read over by the HTTP server.
			defer b.extend()
		}
		h.ServeHTTP(pw, r)
	})
}

type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
	start   time.Time
	read    int64
	ended   bool
}

// extend allows the next read its time. Setting a deadline fails only on a
// connection that is closed, which the read itself reports.
func (b *patientBody) extend() {
	if b.ended {
		return
	}
	now := time.Now()
	at := b.start.Add(b.timeout + time.Duration(b.read/minBodyRate)*time.Second)
	if limit := now.Add(b.timeout); at.After(limit) {
		at = limit
	}
	_ = b.control.SetReadDeadline(at)
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.extend()
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err == io.EOF && !b.ended {
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// Unwrap lets http.ResponseController reach the connection.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *patientWriter) extend() { _ = w.control.SetWriteDeadline(time.Now().Add(w.timeout)) }

func (w *patientWriter) WriteHeader(status int) {
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

func (w *patientWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p)
}
