// Echo on evio, with one event loop.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/tidwall/evio"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: evio PORT")
	}
	events := evio.Events{
		NumLoops: 1,
		// The input is answered before the next is read, so it needs no copy of its own. evio has
		// no option for TCP_NODELAY, and gives no access to the socket.
		Opened: func(evio.Conn) ([]byte, evio.Options, evio.Action) {
			return nil, evio.Options{ReuseInputBuffer: true}, evio.None
		},
		Data: func(_ evio.Conn, input []byte) ([]byte, evio.Action) {
			return input, evio.None
		},
	}
	log.Fatal(evio.Serve(events, fmt.Sprintf("tcp4://127.0.0.1:%s", os.Args[1])))
}
