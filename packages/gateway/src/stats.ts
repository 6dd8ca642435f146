/** Counters since the gateway started. */
export interface Stats {
  connections: number
  handshakesRefused: number
  requests: number
  allowed: number
  refused: number
  upstreamErrors: number
  streamsOpened: number
  streamsCut: number
  bundlesAccepted: number
  bundlesRefused: number
  socketsCut: number
}

export function newStats(): Stats {
  return {
    connections: 0,
    handshakesRefused: 0,
    requests: 0,
    allowed: 0,
    refused: 0,
    upstreamErrors: 0,
    streamsOpened: 0,
    streamsCut: 0,
    bundlesAccepted: 0,
    bundlesRefused: 0,
    socketsCut: 0,
  }
}
