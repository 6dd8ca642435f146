export { createOperatorApi } from './api.ts'
export { listenPrivately } from './private-socket.ts'
