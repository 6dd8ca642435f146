export { startGateway } from './gateway.ts'
export type { Gateway, GatewayOptions, GatewayStats } from './gateway.ts'
export type { GatewaySettings } from './settings.ts'
