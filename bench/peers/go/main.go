// The ten features as somebody would write them in Go with nothing but its standard library: the yardstick.
package main

import (
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	timeout  = 3 * time.Second
	grace    = 30 * time.Second
	rotateAt = 10 << 20
)

// A step of the chain, around the next one.
type middleware func(http.Handler) http.Handler

func main() {
	bind := flag.String("bind", "127.0.0.1:8080", "where to serve")
	users := flag.String("users", "http://127.0.0.1:5001,http://127.0.0.1:5003", "backends of /users")
	orders := flag.String("orders", "http://127.0.0.1:5002", "backends of /orders")
	secret := flag.String("secret", "", "of HS256 tokens; none are asked for if it is empty")
	limit := flag.Int("limit", 1_000_000_000, "requests a minute from one address")
	path := flag.String("log", "access.log", "the access log")
	flag.Parse()

	access, err := openLog(*path)
	if err != nil {
		log.Fatal(err)
	}
	steps := []middleware{identified, logged(access), compressed, healthy(time.Now()), limited(*limit)}
	if *secret != "" {
		steps = append(steps, authenticated([]byte(*secret)))
	}
	routes := http.NewServeMux()
	for prefix, backends := range map[string]string{"/users": *users, "/orders": *orders} {
		proxy := forward(backends)
		routes.Handle(prefix, proxy)
		routes.Handle(prefix+"/", proxy)
	}
	serve(*bind, chain(steps, routes))
}

func chain(steps []middleware, last http.Handler) http.Handler {
	for i := len(steps) - 1; i >= 0; i-- {
		last = steps[i](last)
	}
	return last
}

func serve(bind string, handler http.Handler) {
	server := &http.Server{Addr: bind, Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second}
	stopped := make(chan struct{})
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		<-signals
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		server.Shutdown(ctx)
		close(stopped)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-stopped
}

// The request's id: in the request, in the answer, in the log.

func identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id [16]byte
		rand.Read(id[:])
		name := hex.EncodeToString(id[:])
		r.Header.Set("X-Request-ID", name)
		w.Header().Set("X-Request-ID", name)
		next.ServeHTTP(w, r)
	})
}

// Access lines, in a file that is rotated by size.

type logFile struct {
	lock sync.Mutex
	file *os.File
	path string
	size int
}

func openLog(path string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return &logFile{file: file, path: path}, err
}

func (l *logFile) write(line string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.size += len(line); l.size > rotateAt {
		os.Rename(l.path, l.path+".1")
		if fresh, err := openLog(l.path); err == nil {
			l.file.Close()
			l.file, l.size = fresh.file, len(line)
		}
	}
	l.file.WriteString(line)
}

type recorder struct {
	http.ResponseWriter
	status int
	sent   int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(data []byte) (int, error) {
	n, err := r.ResponseWriter.Write(data)
	r.sent += n
	return n, err
}

func (r *recorder) Flush() {
	if flusher, ok := r.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
}

func logged(access *logFile) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			method, path := r.Method, r.URL.Path
			record := &recorder{ResponseWriter: w, status: http.StatusOK}
			defer func() {
				access.write(fmt.Sprintf("time:%s\tclient:%s\tmethod:%s\tpath:%s\tstatus:%d\tsent:%d\tduration:%.6f\tid:%s\n",
					began.Format(time.RFC3339Nano), address(r), method, path, record.status, record.sent,
					time.Since(began).Seconds(), r.Header.Get("X-Request-ID")))
			}()
			next.ServeHTTP(record, r)
		})
	}
}

func address(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// gzip, for what is worth it and for who takes it.

var encoders = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

type encoder struct {
	http.ResponseWriter
	gzip    *gzip.Writer
	started bool
}

func (e *encoder) WriteHeader(status int) {
	header := e.Header()
	if !e.started && status != http.StatusNoContent && status != http.StatusNotModified && compressible(header) {
		header.Set("Content-Encoding", "gzip")
		header.Add("Vary", "Accept-Encoding")
		header.Del("Content-Length")
		e.gzip = encoders.Get().(*gzip.Writer)
		e.gzip.Reset(e.ResponseWriter)
	}
	e.started = true
	e.ResponseWriter.WriteHeader(status)
}

func (e *encoder) Write(data []byte) (int, error) {
	if !e.started {
		e.WriteHeader(http.StatusOK)
	}
	if e.gzip != nil {
		return e.gzip.Write(data)
	}
	return e.ResponseWriter.Write(data)
}

func (e *encoder) close() {
	if e.gzip != nil {
		e.gzip.Close()
		encoders.Put(e.gzip)
	}
}

func compressible(header http.Header) bool {
	kind := header.Get("Content-Type")
	return header.Get("Content-Encoding") == "" && (strings.HasPrefix(kind, "text/") || strings.HasPrefix(kind, "application/json"))
}

func compressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			next.ServeHTTP(w, r)
			return
		}
		r.Header.Del("Accept-Encoding")
		encoding := &encoder{ResponseWriter: w}
		defer encoding.close()
		next.ServeHTTP(encoding, r)
	})
}

// Health.

func healthy(started time.Time) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/health" {
				next.ServeHTTP(w, r)
				return
			}
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(map[string]any{
				"uptime": time.Since(started).Seconds(), "memory": memory.Sys, "goroutines": runtime.NumGoroutine(),
			})
		})
	}
}

// Requests a minute, for each address.

func limited(limit int) middleware {
	var lock sync.Mutex
	counts := map[string]int{}
	go func() {
		for range time.Tick(time.Minute) {
			lock.Lock()
			counts = map[string]int{}
			lock.Unlock()
		}
	}()
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from := address(r)
			lock.Lock()
			counts[from]++
			over := counts[from] > limit
			lock.Unlock()
			if over {
				w.Header().Set("Retry-After", "60")
				http.Error(w, "too many requests", http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Tokens: HS256 only.

type claims struct {
	Subject   string  `json:"sub"`
	Role      string  `json:"role"`
	Expires   float64 `json:"exp"`
	NotBefore float64 `json:"nbf"`
}

var errToken = errors.New("no valid token")

func verify(token string, secret []byte) (claims, error) {
	var found claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return found, errToken
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	if decode(parts[0], &header) != nil || header.Algorithm != "HS256" {
		return found, errToken
	}
	sum := hmac.New(sha256.New, secret)
	io.WriteString(sum, token[:len(parts[0])+1+len(parts[1])])
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !hmac.Equal(signature, sum.Sum(nil)) || decode(parts[1], &found) != nil {
		return found, errToken
	}
	if now := float64(time.Now().Unix()); now >= found.Expires || now < found.NotBefore {
		return found, errToken
	}
	return found, nil
}

func decode(part string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func authenticated(secret []byte) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent := r.Header.Get("Authorization")
			token := strings.TrimPrefix(sent, "Bearer ")
			known, err := verify(token, secret)
			if token == sent || err != nil {
				w.Header().Set("WWW-Authenticate", "Bearer")
				http.Error(w, "unauthorized", http.StatusUnauthorized)
				return
			}
			r.Header.Set("X-User-ID", known.Subject)
			r.Header.Set("X-User-Role", known.Role)
			next.ServeHTTP(w, r)
		})
	}
}

// Forwarding: backends in turn, headers, one deadline.

var transport = &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 55 * time.Second, DisableCompression: true}

func forward(backends string) http.Handler {
	var targets []*url.URL
	for _, backend := range strings.Split(backends, ",") {
		target, err := url.Parse(backend)
		if err != nil {
			log.Fatal(err)
		}
		targets = append(targets, target)
	}
	var turn uint64
	proxy := &httputil.ReverseProxy{Transport: transport, ErrorHandler: failed, Director: func(r *http.Request) {
		target := targets[(atomic.AddUint64(&turn, 1)-1)%uint64(len(targets))]
		r.URL.Scheme, r.URL.Host = target.Scheme, target.Host
		r.Header.Del("Authorization")
		r.Header.Del("X-Forwarded-For") // nobody is trusted; ReverseProxy adds the client
		r.Header.Set("X-Forwarded-Proto", "http")
		r.Header.Set("X-Forwarded-Host", r.Host)
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})
}

func failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadGateway
	if errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	http.Error(w, http.StatusText(status), status)
}
