module edgeloop/benches/peers/go-net

go 1.21
