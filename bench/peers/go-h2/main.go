// The HTTP/2 yardstick: httputil.ReverseProxy behind net/http's own TLS server, standard library only.
// No route, log, limit or id: what an HTTP/2 front costs in Go before it does anything else.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func main() {
	bind := flag.String("bind", "127.0.0.1:8443", "where clients come")
	backend := flag.String("backend", "http://127.0.0.1:5601", "a server; with https:// by HTTP/2 if it offers that")
	ca := flag.String("ca", "", "the authority of its certificate")
	cert := flag.String("cert", "cert.pem", "certificate")
	key := flag.String("key", "key.pem", "its key")
	flag.Parse()

	target, err := url.Parse(*backend)
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := &http.Transport{ // as net/http's default, but with room for as many idle connections as streams
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 1024,
		DisableCompression:  true,
	}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			log.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		transport.ForceAttemptHTTP2 = true
	}
	proxy.Transport = transport
	server := &http.Server{
		Addr:              *bind,
		Handler:           proxy,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       75 * time.Second,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
	}
	log.Fatal(server.ListenAndServeTLS(*cert, *key))
}
