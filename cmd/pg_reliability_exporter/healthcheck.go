package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// healthcheckTimeout is below what container engines allow a health check by default.
const healthcheckTimeout = 5 * time.Second

// healthcheck asks the exporter that listens on this host whether it is alive, for images without a shell. It speaks
// of the exporter, never of the database. A server with TLS or a password answers 400 or 401: that is alive, too.
func healthcheck(ctx context.Context, listenAddresses []string) error {
	if len(listenAddresses) == 0 {
		return fmt.Errorf("no address to ask. HINT: Set --web.listen-address")
	}
	host, port, err := net.SplitHostPort(listenAddresses[0])
	if err != nil {
		return fmt.Errorf("--web.listen-address=%s can't be asked: %w", listenAddresses[0], err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/-/healthy", nil)
	if err != nil {
		return fmt.Errorf("health check: %w", err)
	}
	resp, err := (&http.Transport{}).RoundTrip(req) // through no proxy, following no redirect
	if err != nil {
		return fmt.Errorf("health check: %w. HINT: Is the exporter running, and given the same --web.listen-address?", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("health check: the exporter says %s", resp.Status)
	}
	return nil
}
