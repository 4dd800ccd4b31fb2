//go:build windows

// Program pipe connects Docker's named pipe of Windows with an engine's address.
//
//	pipe HOST:PORT
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/Microsoft/go-winio"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "pipe:", err)
		os.Exit(1)
	}
}

func run(address string) error {
	pipe, err := winio.ListenPipe(`\\.\pipe\docker_engine`, nil)
	if err != nil {
		return err
	}
	for {
		client, err := pipe.Accept()
		if err != nil {
			return err
		}
		engine, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(engine, client)
			_ = engine.Close()
		}()
		go func() {
			_, _ = io.Copy(client, engine)
			_ = client.Close()
		}()
	}
}
