// Echo as everybody writes it in Go: a goroutine and a buffer for each connection.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
)

const bufferSize = 16 * 1024

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go-net PORT")
	}
	// Go asks for the longest backlog that the system permits, and sets TCP_NODELAY.
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%s", os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Print(err)
			continue
		}
		go serve(connection)
	}
}

// Everything read before the peer's end is written before ours.
func serve(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, bufferSize)
	for {
		count, err := connection.Read(buffer)
		if count > 0 {
			if _, err := connection.Write(buffer[:count]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
