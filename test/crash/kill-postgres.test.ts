import { killAtEveryStep } from './kill.ts'

await killAtEveryStep('postgres')
