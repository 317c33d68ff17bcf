package server

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// The bounds on what waits to be written to one connection.
const (
	maxPending  = 4 << 20  // bytes; beyond it requests wait to hand over their response
	keepPending = 64 << 10 // bytes; a buffer that grew larger is not kept
)

// writer sends whole frames. The request that finds nobody writing writes its
// own frame and whatever others hand over meanwhile, so that responses that are
// ready together leave in one system call and none waits for another goroutine
// to be scheduled.
type writer struct {
	conn    net.Conn
	timeout time.Duration

	mu      sync.Mutex
	changed *sync.Cond // pending, writing or err changed
	pending []byte     // frames that nobody writes yet
	spare   []byte     // the other buffer; owned by who writes
	writing bool
	err     error
}

func newWriter(conn net.Conn, timeout time.Duration) *writer {
	w := &writer{conn: conn, timeout: timeout}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// send hands over a frame, which is copied. It waits while too much is pending.
// After an error of the connection it does nothing: the connection is closed.
func (w *writer) send(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > maxPending && w.err == nil {
		w.changed.Wait()
	}
	if w.add(frame) {
		// Whoever was woken by the same commit gets the chance to add its response.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
		w.drain()
	}
}

// post hands over a frame without ever waiting; a connection that has too much
// pending is closed, since it would miss the frame.
func (w *writer) post(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) > maxPending {
		w.fail(errClosed)
		return
	}
	if w.add(frame) {
		go func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.drain()
		}()
	}
}

// add appends a frame and reports whether the caller has to drain.
func (w *writer) add(frame []byte) bool {
	if w.err != nil {
		return false
	}
	w.pending = append(w.pending, frame...)
	if w.writing {
		return false
	}
	w.writing = true
	return true
}

// drain writes until nothing is pending. It is called, and returns, with mu held
// and is the only one to run.
func (w *writer) drain() {
	for len(w.pending) > 0 && w.err == nil {
		w.pending, w.spare = w.spare[:0], w.pending
		w.changed.Broadcast()
		w.mu.Unlock()
		err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
		if err == nil {
			_, err = w.conn.Write(w.spare)
		}
		w.mu.Lock()
		if cap(w.spare) > keepPending {
			w.spare = nil
		}
		if err != nil {
			w.fail(err)
		}
	}
	w.writing = false
	w.changed.Broadcast()
}

// fail closes the connection, which also ends its reading.
func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
		w.pending = nil
		w.changed.Broadcast()
		_ = w.conn.Close() // its error says nothing that err does not
	}
}

// flush waits until all that was handed over is written or has failed.
func (w *writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing {
		w.changed.Wait()
	}
}
