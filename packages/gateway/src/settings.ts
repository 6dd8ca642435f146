/** Bounds of a gateway's edge and its upstreams. Milliseconds and bytes. */
export interface GatewaySettings {
  /** From the first byte of a connection to a finished handshake. */
  readonly handshakeTimeoutMs: number
  readonly headersTimeoutMs: number
  /** For a whole request, body included. */
  readonly requestTimeoutMs: number
  readonly keepAliveTimeoutMs: number
  readonly maxHeaderBytes: number
  readonly maxHeaders: number
  readonly maxBodyBytes: number
  /** Of a request with files. */
  readonly maxUploadBytes: number
  /** Of all such requests at once, and of those of one instance. */
  readonly maxUploadsBytes: number
  readonly maxUploadsBytesPerInstance: number
  /** Of a request body that is handed on as it comes. */
  readonly maxRawBodyBytes: number
  /** Of an answer that is handed on as it comes. */
  readonly maxRawAnswerBytes: number
  /** Such requests at once: of one instance (of another trust domain, of one agent), and of all. */
  readonly maxRawBodiesPerInstance: number
  readonly maxRawBodies: number
  /** Of a request to a model. */
  readonly maxPromptBytes: number
  readonly maxConnections: number
  readonly maxConnectionsPerInstance: number
  readonly maxRequestsPerConnection: number
  /** At once, of HTTP/2. */
  readonly maxStreamsPerConnection: number
  /** Calls being handled. */
  readonly maxInFlight: number
  readonly maxInFlightPerInstance: number
  /** Of one instance, refused calls included; the burst is what it may make at once. */
  readonly maxCallsPerSecond: number
  readonly maxCallBurst: number
  /** Of one instance; of another trust domain, of one agent. */
  readonly maxMcpSessionsPerInstance: number
  readonly maxMcpSessions: number
  readonly mcpSessionIdleMs: number
  /** Servers of MCP that are programs of this gateway, running at once. */
  readonly maxMcpPrograms: number
  /** Of one instance; of another trust domain, of one agent. */
  readonly maxA2aTasksPerInstance: number
  readonly maxA2aTasks: number
  /** Of what the calls say that tasks were made by: of one instance, and of all. */
  readonly maxA2aTaskBytesPerInstance: number
  readonly maxA2aTaskBytes: number
  /** Places that peers were told to push to: of one task, of one instance (of another trust domain, of one agent), and of all. */
  readonly maxA2aPushesPerTask: number
  readonly maxA2aPushesPerInstance: number
  readonly maxA2aPushes: number
  readonly a2aTaskIdleMs: number
  /** How long the card that a peer showed counts as read. */
  readonly a2aCardMs: number
  readonly upstreamConnectTimeoutMs: number
  /** For a whole answer that is not a stream. */
  readonly upstreamTimeoutMs: number
  /** Until a model begins to answer, and between any two pieces of its answer. */
  readonly modelTimeoutMs: number
  /** Of one that is held whole: an answer of MCP, say. */
  readonly maxResponseBytes: number
  /** Of one that is projected as it passes. */
  readonly maxStreamedBytes: number
  /** Bytes that each byte of a compressed answer may become, once it is longer than 1 MiB. */
  readonly maxCompressionRatio: number
  /** Connections per caller and destination. */
  readonly upstreamConnections: number
  readonly upstreamIdleMs: number
  readonly streamRecheckMs: number
  readonly maxStreamMs: number
  readonly maxEventBytes: number
  /** Of gRPC, calls whose callers may go on sending: of one instance (of another trust domain, of one agent), and of all. */
  readonly maxSendingPerInstance: number
  readonly maxSending: number
  /** Of one such call: messages of its caller, and bytes of them all. */
  readonly maxSentMessages: number
  readonly maxSentBytes: number
  /** For how long neither side of one may send a message while its caller still could. */
  readonly sendingIdleMs: number
  /** For one request to the control plane. */
  readonly controlTimeoutMs: number
  /** For the first bundle, at the start. */
  readonly startTimeoutMs: number
  /** Failures of an upstream in a row after which it is left alone, and for how long before one call tries it again. */
  readonly breakerFailures: number
  readonly breakerOpenMs: number
  /** How long calls in flight may take to end when the gateway is asked to stop. */
  readonly drainMs: number
  /** How often what nobody declared is reported, counted. */
  readonly driftReportMs: number
  /** What reads and writes HTTP/1.1 towards systems: undici, whose parser is llhttp, or our own (`docs/gateway/lean-codec.md`). */
  readonly codec: 'llhttp' | 'lean'
  /** False lets reads of what is not restricted go on while the log cannot be written. */
  readonly refuseReadsWithoutAudit: boolean
}

export const DEFAULT_SETTINGS: GatewaySettings = {
  handshakeTimeoutMs: 5000,
  headersTimeoutMs: 5000,
  requestTimeoutMs: 15_000,
  keepAliveTimeoutMs: 30_000,
  maxHeaderBytes: 16_384,
  maxHeaders: 64,
  maxBodyBytes: 262_144,
  maxUploadBytes: 16 * 1024 * 1024,
  maxUploadsBytes: 256 * 1024 * 1024,
  maxUploadsBytesPerInstance: 64 * 1024 * 1024,
  maxRawBodyBytes: 1024 * 1024 * 1024,
  maxRawAnswerBytes: 1024 * 1024 * 1024,
  maxRawBodiesPerInstance: 16,
  maxRawBodies: 256,
  maxPromptBytes: 8 * 1024 * 1024,
  maxConnections: 4096,
  maxConnectionsPerInstance: 256,
  maxRequestsPerConnection: 100_000,
  maxStreamsPerConnection: 100,
  maxInFlight: 2048,
  maxInFlightPerInstance: 256,
  maxCallsPerSecond: 500,
  maxCallBurst: 1000,
  maxMcpSessionsPerInstance: 16,
  maxMcpSessions: 4096,
  mcpSessionIdleMs: 3_600_000,
  maxMcpPrograms: 256,
  maxA2aTasksPerInstance: 256,
  maxA2aTasks: 16_384,
  maxA2aTaskBytesPerInstance: 4 * 1024 * 1024,
  maxA2aTaskBytes: 64 * 1024 * 1024,
  maxA2aPushesPerTask: 16,
  maxA2aPushesPerInstance: 64,
  maxA2aPushes: 4096,
  a2aTaskIdleMs: 86_400_000,
  a2aCardMs: 60_000,
  upstreamConnectTimeoutMs: 5000,
  upstreamTimeoutMs: 15_000,
  modelTimeoutMs: 600_000,
  maxResponseBytes: 4 * 1024 * 1024,
  maxStreamedBytes: 1024 * 1024 * 1024,
  maxCompressionRatio: 200,
  upstreamConnections: 32,
  upstreamIdleMs: 60_000,
  streamRecheckMs: 5000,
  maxStreamMs: 3_600_000,
  maxEventBytes: 262_144,
  maxSendingPerInstance: 32,
  maxSending: 512,
  maxSentMessages: 10_000,
  maxSentBytes: 64 * 1024 * 1024,
  sendingIdleMs: 60_000,
  controlTimeoutMs: 5000,
  startTimeoutMs: 20_000,
  breakerFailures: 5,
  breakerOpenMs: 5000,
  drainMs: 10_000,
  driftReportMs: 5000,
  codec: 'llhttp',
  refuseReadsWithoutAudit: true,
}
