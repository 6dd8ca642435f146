export { createOperatorApi } from './api.ts'
export type { OperatorApi, OperatorApiOptions } from './api.ts'
export { listenPrivately } from './private-socket.ts'
