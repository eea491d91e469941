/* gemm_cpu_rows.h - repetition for the rows that the CPU's products keep in registers. */
#if VW == 16
#define ROWS         12
#define EACH_ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
typedef float16 floatv;
#else
#define ROWS         6
#define EACH_ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5)
typedef float8 floatv;
#endif
#define EACH_4(F) F(0) F(1) F(2) F(3)
#define EACH_1(F) F(0)

#define JOIN_(a, b)  a##b
#define JOIN(a, b)   JOIN_(a, b)
#define LOADV(p)     JOIN(vload, VW)(0, p)
#define STOREV(v, p) JOIN(vstore, VW)(v, 0, p)
