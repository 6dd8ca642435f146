export { createDetector } from './detector.ts'
export type { DetectorOptions } from './detector.ts'
export type {
  Detector,
  DetectorSnapshot,
  Floors,
  Observation,
  Risk,
  RiskReason,
  Signal,
  SignalName,
} from './types.ts'
